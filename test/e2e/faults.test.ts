/**
 * A mount over S3 and KMS that fail in every way, by seeded schedules: while they do, exactly one complete, authentic generation
 * is served, never an older one than before, and status says how it is; once faults end, the newest valid one is live by itself.
 * SECRETSFS_FAULT_SEEDS: the last seed (50, of a soak 500), or FIRST-LAST; N-N is that one alone.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BROKEN } from '../support/broken-mount.ts';
import { faultMount } from '../support/fault-mount.ts';
import { scheduleOf } from '../support/fault-schedule.ts';
import { endsBadly, Judge } from '../support/fault-verdict.ts';
import { patient } from '../support/slowness.ts';

const SOAK = process.env['SECRETSFS_SOAK'] !== undefined;
const [, FIRST = '1', LAST = ''] =
  /^(?:(\d+)-)?(\d+)$/.exec(process.env['SECRETSFS_FAULT_SEEDS'] ?? (SOAK ? '500' : '20')) ?? [];
const RECOVERY_MS_MAX = 90_000;
/** What is never right is not waited for as long. */
const BROKEN_MS_MAX = 3_000;

test(`faults and rotations by schedules ${FIRST} to ${LAST}: one authentic generation at every moment, the newest at the end`, async (t) => {
  assert.ok(Number(LAST) >= Number(FIRST), 'SECRETSFS_FAULT_SEEDS is LAST or FIRST-LAST');
  const judge = new Judge(await faultMount(t), patient(RECOVERY_MS_MAX));
  for (let seed = Number(FIRST); seed <= Number(LAST); seed++) await judge.schedule(seed);
});

test('a mount that serves or says what is not so is found out, in each way', async (t) => {
  const mount = await faultMount(t);
  const seedOf = (bad: boolean) => {
    for (let seed = 1; ; seed++) if (endsBadly(scheduleOf(seed)) === bad) return seed;
  };
  for (const { does, found, how, endsBadly: bad = false } of BROKEN) {
    mount.endFaults();
    const judge = new Judge({ ...mount, ...how(mount) }, patient(BROKEN_MS_MAX));
    await assert.rejects(judge.schedule(seedOf(bad)), found, `a mount that ${does}`);
  }
});
