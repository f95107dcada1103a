import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Noticing } from '../../../src/daemon/noticing.ts';
import type { Looked } from '../../../src/daemon/rotation-ports.ts';
import type { Known } from '../../../src/daemon/source-ledger.ts';
import { SourceError } from '../../../src/errors.ts';
import type { Found, Source } from '../../../src/source/source.ts';
import { seeded, VirtualTime } from '../../support/virtual-time.ts';

const POLL_MS = 30_000;
const SAME: Found = { outcome: 'same' };
const AWAY = new SourceError('source-unreachable', 'away');

interface Has {
  polled?: boolean;
  found: Found | Error;
  known: Known | undefined;
  takesMs?: number;
}

function setUp(
  sources: readonly Has[],
  options: { random?: () => number; spreadMs?: number; pollMs?: number } = {},
) {
  const time = new VirtualTime(0);
  const asked: { source: number; atMs: number; against: string | undefined }[] = [];
  const looks: (readonly Looked[])[] = [];
  const scheduled: (number | undefined)[] = [];
  const hints: (() => void)[] = [];
  let closed = 0;
  const bugs: string[] = [];
  const noticing = new Noticing(
    { pollMs: options.pollMs ?? POLL_MS, spreadMs: options.spreadMs ?? 1_000 },
    {
      sources: sources.map(
        (has, i): Source => ({
          location: `s3://bucket/${i}`,
          polled: has.polled ?? true,
          fetch: () => assert.fail('whoever notices fetches nothing'),
          async check({ knownRevision, signal }) {
            asked.push({ source: i, atMs: time.nowMs, against: knownRevision });
            if (has.takesMs !== undefined) await time.sleep(has.takesMs);
            signal?.throwIfAborted();
            if (has.found instanceof Error) throw has.found;
            return has.found;
          },
          watch(hint) {
            hints.push(hint);
            return {
              close: async () => {
                closed++;
              },
            };
          },
        }),
      ),
      timers: time,
      random: options.random ?? (() => 0.5),
      nowMs: () => time.nowMs,
      known: (source) => sources[source]?.known,
      looked: (found) => looks.push(found),
      scheduled: (atMs) => scheduled.push(atMs),
      bug: (description) => bugs.push(description),
    },
  );
  return { time, asked, looks, scheduled, hints, noticing, bugs, closed: () => closed };
}

const live = (revision = 'r1'): Has => ({ found: SAME, known: { revision, is: 'live' } });
const outcomes = (looks: (readonly Looked[])[]) =>
  looks.map((all) => all.map(({ outcome }) => outcome).join());

test('the first look is anywhere within the interval, the next ones a fifth around it', async () => {
  const random = seeded(1);
  const firsts: number[] = [];
  const gaps: number[] = [];
  for (let i = 0; i < 300; i++) {
    const { time, asked, noticing } = setUp([live()], { random });
    await time.until(8 * POLL_MS);
    await noticing.close();
    const times = asked.map(({ atMs }) => atMs);
    firsts.push(times[0] ?? 0);
    gaps.push(...times.slice(1).map((atMs, at) => atMs - (times[at] ?? 0)));
  }
  assert.ok(Math.min(...firsts) < 0.05 * POLL_MS && Math.max(...firsts) > 0.95 * POLL_MS);
  assert.ok(Math.max(...firsts) <= POLL_MS);
  assert.ok(Math.min(...gaps) >= 0.8 * POLL_MS && Math.min(...gaps) < 0.81 * POLL_MS);
  assert.ok(Math.max(...gaps) <= 1.2 * POLL_MS && Math.max(...gaps) > 1.19 * POLL_MS);
});

test('a look is made against what is known then, and says what it saw', async () => {
  const source = live();
  const { time, asked, looks, scheduled } = setUp([source]);
  await time.until(16_000);
  source.known = { revision: 'r2', is: 'live' };
  source.found = { outcome: 'changed', revision: 'r3' };
  await time.until(46_000);
  assert.deepEqual(
    asked.map(({ against }) => against),
    ['r1', 'r2'],
  );
  assert.deepEqual(looks, [[{ outcome: 'same', revision: 'r1' }], [{ outcome: 'changed', revision: 'r3' }]]);
  assert.deepEqual(scheduled.at(-1), 75_000);
});

test('a source that fails is asked after an interval, then less often, and as ever once it answers', async () => {
  const source: Has = { found: AWAY, known: undefined };
  const { time, asked, noticing } = setUp([source]);
  await time.until(3_600_000);
  const gaps = asked.slice(1).map(({ atMs }, i) => atMs - (asked[i]?.atMs ?? 0));
  assert.deepEqual(gaps.slice(0, 6), [30_000, 84_000, 120_000, 120_000, 120_000, 120_000]);
  source.found = SAME;
  source.known = { revision: 'r1', is: 'live' };
  await time.pass(120_000);
  const answeredMs = asked.at(-1)?.atMs ?? 0;
  await time.until(answeredMs + POLL_MS);
  assert.equal(asked.at(-1)?.atMs, answeredMs + POLL_MS);
  await noticing.close();
  assert.equal(time.pending, 0);
});

test('instances whose source failed are spread over two minutes from the second failure on', async () => {
  const random = seeded(2);
  const waits: number[] = [];
  for (let i = 0; i < 300; i++) {
    const { time, asked, noticing } = setUp([{ found: AWAY, known: undefined }], { random });
    await time.until(8 * POLL_MS);
    await noticing.close();
    if (asked[2] !== undefined) waits.push(asked[2].atMs - (asked[1]?.atMs ?? 0));
  }
  assert.ok(waits.length > 280);
  assert.ok(Math.min(...waits) < POLL_MS && Math.max(...waits) > 130_000);
});

test('an interval that is longer than the spread of a failure stays as it is', async () => {
  const { time, asked } = setUp([{ found: AWAY, known: undefined }], { pollMs: 300_000 });
  await time.until(1_800_000);
  const gaps = asked.slice(1).map(({ atMs }, i) => atMs - (asked[i]?.atMs ?? 0));
  assert.deepEqual(gaps, [300_000, 300_000, 300_000, 300_000, 300_000]);
});

test('a hint that met a failure is not forgotten until the next poll', async () => {
  const source: Has = { found: AWAY, known: undefined };
  const { time, asked, noticing } = setUp([source], { pollMs: 300_000 });
  noticing.hint();
  await time.until(200_000);
  assert.deepEqual(
    asked.map(({ atMs }) => atMs),
    [500, 60_500, 180_500],
  );
  source.found = SAME;
  source.known = { revision: 'r1', is: 'live' };
  await time.until(1_500_000);
  assert.deepEqual(
    asked.slice(3).map(({ atMs }) => atMs),
    [300_500, 600_500, 900_500, 1_200_500],
  );
});

test('sources are asked in order until one has what is live or something else', async () => {
  const first: Has = { found: AWAY, known: undefined };
  const second: Has = { found: SAME, known: { revision: 'old', is: 'behind' } };
  const third = live();
  const { time, looks, asked } = setUp([first, second, third]);
  await time.until(16_000);
  assert.deepEqual(outcomes(looks), ['failed,same,same']);
  // The first one's time has not come yet, and the interval is kept for the others.
  first.found = SAME;
  first.known = { revision: 'r1', is: 'live' };
  await time.until(100_000);
  assert.deepEqual(outcomes(looks).slice(1), ['same,unasked,unasked', 'same,unasked,unasked']);
  assert.equal(asked.length, 5);
});

test('a source that fails beside one that answers is asked less often, the other as ever', async () => {
  const { time, asked } = setUp([{ found: AWAY, known: undefined }, live()]);
  await time.until(20 * POLL_MS);
  const of = (source: number) => asked.filter((each) => each.source === source).length;
  assert.equal(of(1), 20);
  assert.ok(of(0) <= 8, `${of(0)} times`);
});

test('a hint becomes a look within the spread, any number of them one', async () => {
  const { time, asked, noticing, looks } = setUp([live()], { random: () => 0.9, spreadMs: 1_000 });
  for (let i = 0; i < 10; i++) noticing.hint();
  await time.until(899);
  assert.equal(asked.length, 0);
  await time.until(901);
  assert.equal(asked.length, 1);
  noticing.hint();
  await time.until(2_000);
  assert.equal(looks.length, 2);
});

test('a hint also asks what failed, whose time has not come', async () => {
  const source: Has = { found: AWAY, known: undefined };
  const { time, looks, noticing } = setUp([source]);
  await time.until(15_001);
  source.found = { outcome: 'changed', revision: 'r2' };
  noticing.hint();
  await time.pass(1_000);
  assert.deepEqual(outcomes(looks), ['failed', 'changed']);
  // And the interval is the ordinary one again.
  await time.pass(POLL_MS);
  assert.equal(looks.length, 3);
});

test('a file is not polled: it is looked at when it tells, and what it fails with is for others to find', async () => {
  const source: Has = { polled: false, found: AWAY, known: undefined };
  const { time, looks, hints, scheduled, noticing, closed } = setUp([source]);
  await time.until(10 * POLL_MS);
  assert.deepEqual([looks, scheduled], [[], []]);
  hints[0]?.();
  await time.pass(1);
  assert.deepEqual(looks, [[{ outcome: 'changed', revision: undefined }]]);
  await noticing.close();
  assert.equal(closed(), 1);
});

test('looks never overlap, and hints during one are one more', async () => {
  const source = { ...live(), takesMs: 5_000 };
  const { time, asked, noticing } = setUp([source]);
  noticing.look();
  await time.pass(1_000);
  for (let i = 0; i < 5; i++) noticing.look();
  await time.until(12_000);
  assert.deepEqual(
    asked.map(({ atMs }) => atMs),
    [0, 5_000],
  );
});

test('after close() nothing is asked or told, not even by a look that was under way', async () => {
  const source = { ...live(), takesMs: 5_000 };
  const { time, looks, asked, noticing } = setUp([source]);
  noticing.look();
  await time.pass(1_000);
  const closing = noticing.close();
  await time.until(10_000);
  await closing;
  noticing.look();
  noticing.hint();
  await time.until(10 * POLL_MS);
  assert.deepEqual([looks, asked.length, time.pending], [[], 1, 0]);
});

test('a bug in a source is told by its place, and the next look is made', async () => {
  const source: Has = { found: new TypeError('with a secret in it'), known: undefined };
  const { time, bugs, asked } = setUp([source]);
  await time.until(2 * POLL_MS);
  assert.equal(asked.length, 2);
  assert.equal(bugs.length, 2);
  assert.doesNotMatch(bugs.join(), /secret/);
});
