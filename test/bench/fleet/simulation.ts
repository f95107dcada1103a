/**
 * A fleet in one process, on virtual time: each instance is the program's own code (when to look, when to open, the queue's
 * listener) over an S3, a KMS and queues that answer after a moment and count who asks. Everything follows from the seed.
 */
import { Noticing } from '../../../src/daemon/noticing.ts';
import { retryTimes } from '../../../src/daemon/retries.ts';
import { Rotation } from '../../../src/daemon/rotation.ts';
import { KeyError, SourceError } from '../../../src/errors.ts';
import { listenToQueue, type Queue, type QueueMessage } from '../../../src/source/queue.ts';
import type { Source } from '../../../src/source/source.ts';
import { seeded, VirtualTime } from '../../support/virtual-time.ts';

export interface FleetOptions {
  readonly instances: number;
  readonly seed: number;
  readonly pollMs: number;
  /** With a queue for each. */
  readonly spreadMs?: number;
  readonly durationMs: number;
  readonly uploadMs: number;
  /** While S3 answers 503. */
  readonly s3Outage?: readonly [number, number];
  /** While KMS refuses. */
  readonly kmsOutage?: readonly [number, number];
}

/** When each was asked, in milliseconds since the start, all instances together. */
export interface FleetCalls {
  readonly head: number[];
  readonly get: number[];
  readonly kms: number[];
  /** When each instance had the new bundle live. */
  readonly live: number[];
}

/** What a request takes. */
const S3_MS = [15, 60] as const;
const KMS_MS = [10, 40] as const;
/** As SQS: a request that brings nothing is held for so long. */
const WAIT_MS = 20_000;
const OBJECT = { bucket: 'bundles', key: 'web.enc' };
const MESSAGE: QueueMessage = {
  body: JSON.stringify({
    Records: [{ s3: { bucket: { name: OBJECT.bucket }, object: { key: OBJECT.key } } }],
  }),
  receipt: 'r',
};
const UNSEAL_LIMIT = 10;

export async function simulateFleet(options: FleetOptions): Promise<FleetCalls> {
  const time = new VirtualTime(0);
  const random = seeded(options.seed);
  const calls: FleetCalls = { head: [], get: [], kms: [], live: [] };
  const world = { serial: 1, listeners: new Set<() => void>() };
  const during = (span: readonly [number, number] | undefined) =>
    span !== undefined && time.nowMs >= span[0] && time.nowMs < span[1];
  const takes = ([least, most]: readonly [number, number]) => time.sleep(least + (most - least) * random());
  const s3 = async () => {
    await takes(S3_MS);
    if (during(options.s3Outage)) throw new SourceError('source-throttled', 'SlowDown');
  };
  const source: Source = {
    location: `s3://${OBJECT.bucket}/${OBJECT.key}`,
    polled: true,
    fetch: () => Promise.reject(new Error('whoever notices fetches nothing')),
    async check({ knownRevision }) {
      calls.head.push(time.nowMs);
      await s3();
      const revision = `v${world.serial}`;
      return revision === knownRevision ? { outcome: 'same' } : { outcome: 'changed', revision };
    },
    watch: () => ({ close: async () => undefined }),
  };
  const quiet = () => undefined;
  const common = { timers: time, random, nowMs: () => time.nowMs };

  const start = async () => {
    const rotation = new Rotation<number>({
      ...common,
      log: { info: quiet, warn: quiet, error: quiet },
      sources: [{ isLocal: false }],
      unsealsPerMinute: UNSEAL_LIMIT,
      retries: retryTimes({ pollMs: options.pollMs, spreadMs: options.spreadMs ?? 0 }),
      // Serials only grow here.
      floors: { floor: undefined, floorOfRollback: undefined, record: async () => undefined },
      async take({ liveSha256 }) {
        const isFirst = liveSha256 === undefined;
        if (!isFirst) {
          calls.get.push(time.nowMs);
          await s3();
        }
        const serial = world.serial;
        const revision = `v${serial}`;
        if (liveSha256 === revision) return { outcome: 'unchanged', revision };
        if (!isFirst) {
          calls.kms.push(time.nowMs);
          await takes(KMS_MS);
          if (during(options.kmsOutage)) {
            const error = new KeyError('key-throttled', 'ThrottlingException');
            error.revision = revision;
            throw error;
          }
        }
        const opened = { generation: serial, serial, created: '', uploadedMs: undefined };
        return { outcome: 'opened', revision, sha256: revision, opened };
      },
      activate({ serial }) {
        if (serial > 1) calls.live.push(time.nowMs);
        return undefined;
      },
    });
    await rotation.refresh();
    const noticing = new Noticing(
      { pollMs: options.pollMs, spreadMs: options.spreadMs ?? 0 },
      {
        ...common,
        sources: [source],
        known: (i) => rotation.known()[i],
        looked: (looks) => rotation.noteLook(looks),
        scheduled: quiet,
        bug: (description) => {
          throw new Error(description);
        },
      },
    );
    const queue =
      options.spreadMs === undefined
        ? undefined
        : listenToQueue({
            ...common,
            open: async () => queueOf(world.listeners, time),
            places: [OBJECT],
            hint: () => noticing.hint(),
            status: quiet,
            bug: (error) => {
              throw error;
            },
          });
    return { rotation, noticing, queue };
  };
  const instances = [];
  for (let i = 0; i < options.instances; i++) instances.push(await start());
  time.set(() => {
    world.serial += 1;
    // All of them at once: the worst that SNS can do.
    for (const deliver of [...world.listeners]) deliver();
  }, options.uploadMs);
  await time.until(options.durationMs);
  const ending = instances.flatMap(({ rotation, noticing, queue }) => [
    rotation.stop(),
    noticing.close(),
    queue?.close(),
  ]);
  await time.pass(WAIT_MS);
  await Promise.all(ending);
  return calls;
}

function queueOf(listeners: Set<() => void>, time: VirtualTime): Queue {
  return {
    receive: (signal) =>
      new Promise((resolve, reject) => {
        const end = (messages: readonly QueueMessage[]) => {
          listeners.delete(deliver);
          time.clear(timer);
          signal.removeEventListener('abort', abort);
          resolve(messages);
        };
        const deliver = () => end([MESSAGE]);
        const timer = time.set(() => end([]), WAIT_MS);
        listeners.add(deliver);
        const abort = () => reject(signal.reason);
        signal.addEventListener('abort', abort, { once: true });
      }),
    remove: async () => undefined,
    close: async () => undefined,
  };
}

export interface Spread {
  readonly calls: number;
  readonly firstMs: number;
  readonly lastMs: number;
  readonly meanPerBin: number;
  readonly peakPerBin: number;
  /** Of the fullest bin, against the mean. */
  readonly burst: number;
}

/** Over whole bins of [fromMs, toMs). */
export function spreadOf(timesMs: readonly number[], fromMs: number, toMs: number, binMs: number): Spread {
  const bins = binsOf(timesMs, fromMs, toMs, binMs);
  const within = timesMs.filter((atMs) => atMs >= fromMs && atMs < toMs);
  const calls = within.length;
  const peakPerBin = Math.max(...bins);
  const meanPerBin = calls / bins.length;
  return {
    calls,
    firstMs: Math.min(...within),
    lastMs: Math.max(...within),
    ...{ meanPerBin, peakPerBin, burst: peakPerBin / meanPerBin },
  };
}

export function binsOf(timesMs: readonly number[], fromMs: number, toMs: number, binMs: number): number[] {
  const bins: number[] = Array.from({ length: Math.max(1, Math.ceil((toMs - fromMs) / binMs)) }, () => 0);
  for (const atMs of timesMs) {
    const bin = Math.floor((atMs - fromMs) / binMs);
    if (atMs >= fromMs && bin < bins.length) bins[bin] = (bins[bin] ?? 0) + 1;
  }
  return bins;
}
