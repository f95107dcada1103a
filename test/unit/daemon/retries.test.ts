import assert from 'node:assert/strict';
import { test } from 'node:test';
import { retryTimes } from '../../../src/daemon/retries.ts';
import { type FleetOptions, simulateFleet, spreadOf } from '../../bench/fleet/simulation.ts';

test('what fails is spread over two minutes, over more where a hint is, and over less where looks are more frequent', () => {
  assert.deepEqual(retryTimes({ pollMs: 30_000, spreadMs: 1_000 }), { ownMs: 10_000, sharedMs: 120_000 });
  assert.deepEqual(retryTimes({ pollMs: 300_000, spreadMs: 600_000 }), { ownMs: 10_000, sharedMs: 600_000 });
  assert.deepEqual(retryTimes({ pollMs: 1_000, spreadMs: 1_000 }), { ownMs: 1_000, sharedMs: 4_000 });
});

const INSTANCES = 300;
const UPLOAD_MS = 120_000;
const OUTAGE_END_MS = UPLOAD_MS + 300_000;
const fleet = (options: Partial<FleetOptions>) =>
  simulateFleet({
    instances: INSTANCES,
    seed: 1,
    pollMs: 30_000,
    uploadMs: UPLOAD_MS,
    durationMs: OUTAGE_END_MS + 300_000,
    ...options,
  });

test('instances that KMS refused at one moment ask it without bursts, and all soon have what they waited for', async () => {
  const { kms, live } = await fleet({
    pollMs: 300_000,
    spreadMs: 1_000,
    kmsOutage: [0, OUTAGE_END_MS],
  });
  const lastMs = Math.max(...live);
  assert.equal(live.length, INSTANCES);
  assert.ok(lastMs < OUTAGE_END_MS + 150_000);
  const { burst } = spreadOf(kms, UPLOAD_MS + 2_000, lastMs, 20_000);
  assert.ok(burst < 2, `${burst} × the mean`);
});

test('what an outage of S3 held back comes without a burst, and nobody asks it more than ever meanwhile', async () => {
  const { head, kms, live } = await fleet({ s3Outage: [60_000, OUTAGE_END_MS] });
  const lastMs = Math.max(...live);
  assert.equal(live.length, INSTANCES);
  assert.ok(lastMs < OUTAGE_END_MS + 150_000);
  const { burst } = spreadOf(kms, OUTAGE_END_MS, lastMs, 20_000);
  assert.ok(burst < 2, `${burst} × the mean`);
  const { meanPerBin } = spreadOf(head, 0, 60_000, 20_000);
  const { peakPerBin } = spreadOf(head, 60_000, lastMs, 20_000);
  assert.ok(peakPerBin < 1.25 * meanPerBin, `${peakPerBin} against ${meanPerBin}`);
});
