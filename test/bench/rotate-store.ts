/**
 * `rotate` over a store of secrets. On moto, what limits it shows in how busy moto's one process is. On a server that answers
 * everything after 30 ms and costs nearly nothing, it shows in how many requests are with the server on average: where that is
 * nearly as many as may be, the server is never waiting for us.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { awsEnv, createBucket, createKey, replaceEnv, startMoto, unique } from '../support/moto.ts';
import { Bench } from '../support/program.ts';
import { StoredSecrets } from '../support/stored-secrets.ts';
import { bareKey, startBareAws } from './bare-aws.ts';
import { atLeast, type Benchmark, type Result, type Scope } from './measure.ts';

const COUNT = 5_000;
/** Of a server whose delay is all that there is to be seen. */
const DELAYED_COUNT = 2_000;
const CONCURRENCY = 32;
/** Of the requests that may be under way, and of one CPU of moto: else we are what is waited for. */
const BUSY_MIN = 0.8;
const DELAY_MS = 30;
/** USER_HZ, as /proc counts. */
const TICK_MS = 10;

export const rotateStore: Benchmark = {
  name: 'rotate-store',
  run: async (scope) => [await onMoto(scope), await withDelay(scope)],
};

async function onMoto(scope: Scope): Promise<Result> {
  const moto = await startMoto({ own: true });
  scope.after(() => moto.stop());
  const bucket = await createBucket(moto.url);
  const [oldKey, newKey] = [await createKey(moto.url), await createKey(moto.url)];
  const rotating = await makeStore(scope, { url: moto.url, bucket, key: oldKey, count: COUNT });
  const before = cpuMsOf(moto.pid);
  const ms = await rotating(newKey);
  const busy = (cpuMsOf(moto.pid) - before) / ms;
  return {
    ...{ name: `rotate ${COUNT} secrets on moto`, value: ms, unit: 'ms', statistic: 'once' },
    note: `moto busy for ${busy.toFixed(2)} of the time`,
    targets: [atLeast(busy, BUSY_MIN, 'of one CPU')],
  };
}

async function withDelay(scope: Scope): Promise<Result> {
  const server = await startBareAws({ delayMs: DELAY_MS });
  scope.after(() => server.close());
  const rotating = await makeStore(scope, {
    ...{ url: server.url, bucket: 'bucket', key: bareKey(), count: DELAYED_COUNT },
  });
  server.takeBusyMs();
  const ms = await rotating(bareKey());
  const underWay = server.takeBusyMs() / ms;
  return {
    ...{
      name: `rotate ${DELAYED_COUNT} secrets, ${DELAY_MS} ms a request`,
      value: ms,
      unit: 'ms',
      statistic: 'once',
    },
    note: `${underWay.toFixed(1)} of ${CONCURRENCY} requests under way on average`,
    targets: [atLeast(underWay / CONCURRENCY, BUSY_MIN, 'of what may be under way')],
  };
}

/** Secrets under `key`; what is returned rotates them to another, and resolves to how long that took in ms. */
async function makeStore(
  scope: Scope,
  { url, bucket, key, count }: { url: string; bucket: string; key: string; count: number },
) {
  scope.after(replaceEnv(awsEnv(url)));
  const location = `s3://${bucket}/${unique('store')}`;
  const secrets = await StoredSecrets.make(location, { count, key });
  scope.after(() => secrets.destroy());
  const bench = await Bench.create(scope, { ...awsEnv(url), S3_PATH: location });
  return async (to: string): Promise<number> => {
    const begin = performance.now();
    const args = [
      'rotate',
      '--key',
      to,
      '--concurrency',
      String(CONCURRENCY),
      '--force-path-style',
      '--json',
    ];
    const facts = JSON.parse(await bench.must(args, { timeoutMs: 900_000 }));
    assert.deepEqual([facts.rotated, facts.total], [count, count]);
    return performance.now() - begin;
  };
}

/** User and system time of all threads of a process. */
function cpuMsOf(pid: number | undefined): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}
