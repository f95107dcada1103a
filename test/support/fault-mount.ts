/** A mount of the program over moto's S3 and KMS, with a proxy in between that fails as a schedule says. */
import { mkdir, readFile } from 'node:fs/promises';
import type { TestContext } from 'node:test';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { AwsAccess } from '../../src/aws/access.ts';
import { writeArchive } from '../../src/bundle/archive.ts';
import { seal } from '../../src/bundle/seal.ts';
import { ask } from '../../src/control/client.ts';
import type { Status } from '../../src/control/protocol.ts';
import { openWrapping } from '../../src/keyring/keyring.ts';
import { file } from './entries.ts';
import { startFaultProxy } from './fault-proxy.ts';
import { contentOf, type FaultSubject, NAMES } from './fault-verdict.ts';
import { awsEnv, createBucket, createKey, motoS3, replaceEnv, startMoto } from './moto.ts';
import { Bench } from './program.ts';
import { patient } from './slowness.ts';

const OBJECT = 'web.enc';

/** Mounted, with serial 1 live; gone after the test. The files of each bundle are NAMES. */
export async function faultMount(t: Pick<TestContext, 'after'>): Promise<FaultSubject> {
  const moto = await startMoto();
  t.after(() => moto.stop());
  const proxy = await startFaultProxy(moto.url);
  t.after(() => proxy.close());
  const bucket = await createBucket(moto.url, { versioned: true });
  const key = await createKey(moto.url);
  const s3 = motoS3(moto.url);
  t.after(() => s3.destroy());
  const restore = replaceEnv(awsEnv(moto.url));
  const aws = new AwsAccess({ env: process.env });
  const { keyring } = await openWrapping([key], aws);
  t.after(() => {
    aws.destroy();
    restore();
  });
  const sealed = async (serial: number, name = 'web') =>
    seal(await writeArchive(NAMES.map((each) => file(each, contentOf(each, serial)))), {
      keyring,
      name,
      serial,
      created: new Date(),
    });
  let newest = 1;
  const put = (Body: Buffer) => s3.send(new PutObjectCommand({ Bucket: bucket, Key: OBJECT, Body }));
  await put(await sealed(newest));

  const bench = await Bench.create(t, awsEnv(proxy.url));
  await mkdir(bench.path('mnt'));
  const args = ['--driver', 'kernel', '--key', key, '--poll', '1s', '--unseal-limit', '6000'];
  // This process reads what is live, not what a pass of its began with.
  args.push('--force-path-style', '--consistency', 'none');
  await bench.mount([`s3://${bucket}/${OBJECT}`, 'mnt', ...args]);

  const bundle = async (what: string): Promise<Buffer> => {
    if (what === 'good') return sealed(++newest);
    // Older than whatever is live, though not all that was uploaded may have gone live.
    if (what === 'old') return sealed(1);
    if (what === 'other-name') return sealed(newest + 1, 'other');
    if (what === 'garbage') return Buffer.from('garbage');
    const whole = await sealed(newest + 1);
    return whole.subarray(0, whole.length / 2);
  };
  return {
    newest: () => newest,
    upload: async (what) => void (await put(await bundle(what))),
    addFault({ at, times, fault }) {
      let left = times;
      proxy.rules.push(({ method, operation, path }) => {
        const is = operation ?? (path.includes(OBJECT) ? method : undefined);
        if (is !== at || left === 0) return undefined;
        left -= 1;
        return fault;
      });
    },
    endFaults() {
      proxy.rules = [];
    },
    read: (name) => readFile(bench.path('mnt', name), 'utf8'),
    async said() {
      const status: Status = await ask(bench.path('run'), 'web', 'status', patient(5_000));
      const { live, state, error, nextAttempt } = status;
      return { serial: live?.serial, state, error, nextAttempt };
    },
  };
}
