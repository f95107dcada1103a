/**
 * `secretsfs ls` of 5,000 secrets, as a process from start to end: cold, when the head of each object is read, and warm,
 * when what was found out before is remembered and the listing alone is asked for. moto is one Python process that answers
 * some hundred requests a second; beside it, a server that costs nearly nothing shows what is our own share.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { mapConcurrently } from '../../src/secrets/concurrent.ts';
import { awsEnv, createBucket, motoS3, startMoto } from '../support/moto.ts';
import { Bench } from '../support/program.ts';
import { sealTestSecret } from '../support/secrets.ts';
import { startBareAws } from './bare-aws.ts';
import { atMost, type Benchmark, type Result, type Scope } from './measure.ts';

const SECRETS = 5_000;
/** The issue that asked for this benchmark. */
const SECONDS_MAX = 3;
const RUNS = 3;
/** Thousands of requests of a slow server, and a minute of putting there what is listed. */
const MOTO_RUNS = 1;
const PATHS = Array.from({ length: SECRETS }, (_, i) => `app-${String(i % 50).padStart(2, '0')}/secret-${i}`);

export const listing: Benchmark = {
  name: 'ls',
  async run(scope) {
    const sealed = await sealTestSecret('a'.repeat(40));
    return [
      ...(await ofMoto(scope, sealed)),
      ...(await ofBareServer(scope, sealed)),
      ...(await ofDirectory(scope, sealed)),
    ];
  },
};

async function ofMoto(scope: Scope, sealed: Buffer): Promise<Result[]> {
  const moto = await startMoto({ own: true });
  scope.after(() => moto.stop());
  const bucket = await createBucket(moto.url);
  const client = motoS3(moto.url);
  await mapConcurrently(PATHS, 32, (key) =>
    client.send(new PutObjectCommand({ Bucket: bucket, Key: `store/${key}`, Body: sealed })),
  );
  client.destroy();
  return measure(scope, 'S3 (moto)', `s3://${bucket}/store`, awsEnv(moto.url), MOTO_RUNS);
}

async function ofBareServer(scope: Scope, sealed: Buffer): Promise<Result[]> {
  const server = await startBareAws({ objects: new Map(PATHS.map((key) => [key, sealed])) });
  scope.after(() => server.close());
  return measure(scope, 'S3 (a bare server)', 's3://bucket', awsEnv(server.url));
}

async function ofDirectory(scope: Scope, sealed: Buffer): Promise<Result[]> {
  const { directory } = await Bench.create(scope);
  for (const each of PATHS) {
    await mkdir(path.join(directory, path.dirname(each)), { recursive: true });
    await writeFile(path.join(directory, each), sealed);
  }
  return measure(scope, 'a directory', directory, awsEnv('http://127.0.0.1:1'));
}

async function measure(
  scope: Scope,
  where: string,
  store: string,
  env: NodeJS.ProcessEnv,
  runs = RUNS,
): Promise<Result[]> {
  const bench = await Bench.create(scope, env);
  const cache = bench.path('cache');
  const ls = async () => {
    const begun = performance.now();
    const out = await bench.must(['ls', '--json', '--store', store, '--force-path-style'], {
      env: { ...bench.env, XDG_CACHE_HOME: cache },
    });
    const found = (JSON.parse(out) as readonly { readonly format: string }[]).filter(
      ({ format }) => format === 'secretsfs',
    );
    if (found.length !== SECRETS) throw new Error(`${found.length} of ${SECRETS} were listed`);
    return performance.now() - begun;
  };
  const cold: number[] = [];
  const warm: number[] = [];
  for (let run = 0; run < runs; run++) {
    await rm(cache, { recursive: true, force: true });
    cold.push(await ls());
    warm.push(await ls());
  }
  return [
    result(`ls of ${SECRETS} secrets, ${where}, cold`, cold),
    result(`ls of ${SECRETS} secrets, ${where}, warm`, warm),
  ];
}

function result(name: string, times: readonly number[]): Result {
  const value = [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? Number.NaN;
  const targets = [atMost(value / 1000, SECONDS_MAX, 's')];
  return { name, value, unit: 'ms', statistic: `median of ${times.length}`, targets };
}
