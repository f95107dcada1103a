/**
 * A mount over S3 and KMS that fail in every way, by seeded schedules: while they do, exactly one complete, authentic generation
 * is served, never an older one than before, and status says how it is; once faults end, the newest valid one is live by itself.
 * SECRETSFS_FAULT_SEEDS: how many schedules (50, of a soak 500); SECRETSFS_FAULT_SEED: that one alone.
 */
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { AwsAccess } from '../../src/aws/access.ts';
import { writeArchive } from '../../src/bundle/archive.ts';
import { seal } from '../../src/bundle/seal.ts';
import { ask } from '../../src/control/client.ts';
import type { Status } from '../../src/control/protocol.ts';
import { openWrapping } from '../../src/keyring/keyring.ts';
import { file } from '../support/entries.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { type Step, scheduleOf } from '../support/fault-schedule.ts';
import { awsEnv, createBucket, createKey, motoS3, replaceEnv, startMoto } from '../support/moto.ts';
import { Bench, eventually } from '../support/program.ts';
import { patient } from '../support/slowness.ts';

const SOAK = process.env['SECRETSFS_SOAK'] !== undefined;
const SEEDS = Number(process.env['SECRETSFS_FAULT_SEEDS'] ?? (SOAK ? 500 : 50));
const ONE = process.env['SECRETSFS_FAULT_SEED'];
/** Back-off may have grown, and a stalled request takes its time. */
const RECOVERY_MS_MAX = 90_000;
const OBJECT = 'web.enc';
const NAMES = ['certificate', 'key'];

test('faults and rotations by seeded schedules: one authentic generation at every moment, the newest at the end', async (t) => {
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
    seal(await writeArchive(NAMES.map((each) => file(each, `${each} ${serial}\n`.repeat(200)))), {
      keyring,
      name,
      serial,
      created: new Date(),
    });
  let serial = 1;
  const put = (Body: Buffer) => s3.send(new PutObjectCommand({ Bucket: bucket, Key: OBJECT, Body }));
  const upload = async (what: Extract<Step, { do: 'upload' }>['what']) => {
    if (what === 'good') return put(await sealed(++serial));
    // Older than whatever is live, though not all that was uploaded may have gone live.
    if (what === 'old') return put(await sealed(1));
    if (what === 'other-name') return put(await sealed(serial + 1, 'other'));
    if (what === 'garbage') return put(Buffer.from('garbage'));
    const whole = await sealed(serial + 1);
    return put(whole.subarray(0, whole.length / 2));
  };
  await put(await sealed(serial));

  const bench = await Bench.create(t, awsEnv(proxy.url));
  await mkdir(bench.path('mnt'));
  const args = [
    '--driver',
    'kernel',
    '--key',
    key,
    '--poll',
    '1s',
    '--unseal-limit',
    '6000',
    '--force-path-style',
    // This process reads what is live, not what a pass of its began with.
    '--consistency',
    'none',
  ];
  await bench.mount([`s3://${bucket}/${OBJECT}`, 'mnt', ...args]);
  const statusOf = (): Promise<Status> => ask(bench.path('run'), 'web', 'status', patient(5_000));
  let seen = 0;
  /** The serial that is served, of which every file is whole; never one that is older than another that was seen. */
  const served = async (name: string): Promise<number> => {
    const content = await readFile(bench.path('mnt', name), 'utf8');
    const found = Number(/^\w+ (\d+)\n/.exec(content)?.[1]);
    assert.equal(content, `${name} ${found}\n`.repeat(200));
    assert.ok(found >= seen && found <= serial, `${found} is served, ${seen} was, ${serial} is the newest`);
    seen = found;
    return found;
  };

  const seeds = ONE === undefined ? Array.from({ length: SEEDS }, (_, i) => i + 1) : [Number(ONE)];
  for (const seed of seeds) {
    const steps = scheduleOf(seed);
    const said = `schedule ${seed}: ${JSON.stringify(steps)}`;
    try {
      for (const step of steps) {
        if (step.do === 'pause') await sleep(step.ms);
        else if (step.do === 'upload') await upload(step.what);
        else addFault(step);
        const before = await served('certificate');
        const { live, state, error } = await statusOf();
        const after = await served('key');
        assert.ok(
          live !== null && live.serial >= before && live.serial <= after,
          `status says ${live?.serial}`,
        );
        assert.ok((state === 'failing') === (error !== null), `${state} with ${error?.code}`);
      }
      proxy.rules = [];
      // A bad upload may be the last: then it is refused until a good one comes.
      const last = steps.filter((step) => step.do === 'upload').at(-1);
      const isBad = last?.do === 'upload' && last.what !== 'good';
      if (isBad) {
        await eventually(async () => {
          const { state, error, nextAttempt } = await statusOf();
          assert.deepEqual([state, error === null, nextAttempt], ['failing', false, null]);
        }, patient(RECOVERY_MS_MAX));
        await upload('good');
      }
      await eventually(async () => {
        const { live, state, error } = await statusOf();
        assert.deepEqual([live?.serial, state, error], [serial, 'live', null]);
      }, patient(RECOVERY_MS_MAX));
      for (const name of NAMES) assert.equal(await served(name), serial);
    } catch (cause) {
      throw new Error(`${said}: ${(cause as Error).message}`, { cause });
    }
  }

  function addFault({ at, times, fault }: Extract<Step, { do: 'fault' }>): void {
    let left = times;
    proxy.rules.push(({ method, operation, path }) => {
      const is = operation ?? (path.includes(OBJECT) ? method : undefined);
      if (is !== at || left === 0) return undefined;
      left -= 1;
      return fault;
    });
  }
});
