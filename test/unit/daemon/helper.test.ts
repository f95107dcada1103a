import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Helper, type HelperOptions, NoAnswer } from '../../../src/daemon/helper.ts';
import { MountError } from '../../../src/errors.ts';
import { FakeChild, settled } from '../../support/fake-child.ts';
import { patient } from '../../support/slowness.ts';

const LONG_MS = 60_000;
const because = (reason: string) => (error: unknown) => error instanceof NoAnswer && error.reason === reason;

function setUp(idleMs?: number, more: Partial<HelperOptions> = {}) {
  const children: FakeChild[] = [];
  const deaths: unknown[] = [];
  const helper = new Helper({
    spawn() {
      const child = new FakeChild();
      children.push(child);
      return child;
    },
    onDeath: (how) => deaths.push(how),
    onNotStarted: (why) => deaths.push(why),
    idleMs,
    ...more,
  });
  return { helper, children, deaths, last: () => children.at(-1) as FakeChild };
}

test('questions are asked one after the other, each has its answer', async (t) => {
  const { helper, last } = setUp();
  t.after(() => helper.stop());
  const first = helper.ask({ do: 'a' }, LONG_MS);
  const second = helper.ask({ do: 'b' }, LONG_MS);
  await settled();
  assert.deepEqual(last().heard, [{ do: 'a' }]);
  assert.equal(helper.hasAnswered, false);
  last().say({ ok: true, n: 1 });
  assert.deepEqual(await first, { ok: true, n: 1 });
  assert.equal(helper.hasAnswered, true);
  await settled();
  assert.deepEqual(last().heard, [{ do: 'a' }, { do: 'b' }]);
  last().say({ ok: true, n: 2 });
  assert.deepEqual(await second, { ok: true, n: 2 });
});

test('an answer that comes late is dropped, and what nobody waits for is not asked', async (t) => {
  const { helper, last } = setUp();
  t.after(() => helper.stop());
  await assert.rejects(helper.ask({ do: 'a' }, 10), because('late'));
  const second = helper.ask({ do: 'b' }, LONG_MS);
  last().say({ ok: true, n: 1 });
  await settled();
  last().say({ ok: true, n: 2 });
  assert.deepEqual(await second, { ok: true, n: 2 });
});

test('who waits behind a question that is never answered is late, too, and is not asked then', async (t) => {
  const { helper, last } = setUp();
  t.after(() => helper.stop());
  const first = helper.ask({ do: 'a' }, 10);
  const second = helper.ask({ do: 'b' }, 10);
  await assert.rejects(first, because('late'));
  await assert.rejects(second, because('late'));
  await assert.rejects(helper.ask({ do: 'c' }, 10), because('late'));
  const fourth = helper.ask({ do: 'd' }, LONG_MS);
  last().say({ ok: true, n: 1 });
  await settled();
  last().say({ ok: true, n: 2 });
  assert.deepEqual(await fourth, { ok: true, n: 2 });
  assert.deepEqual(last().heard, [{ do: 'a' }, { do: 'd' }]);
});

test('who waits behind others has their time besides', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { helper, last } = setUp();
  t.after(() => helper.stop());
  const first = helper.ask({ do: 'a' }, 1000);
  const second = helper.ask({ do: 'b' }, 100);
  t.mock.timers.tick(999);
  last().say({ ok: true, n: 1 });
  await first;
  t.mock.timers.tick(99);
  last().say({ ok: true, n: 2 });
  assert.deepEqual(await second, { ok: true, n: 2 });
});

test('a refusal is a MountError with the errno, and with nothing else that a child says', async (t) => {
  const { helper, last } = setUp();
  t.after(() => helper.stop());
  for (const [errno, message] of [
    ['ENOTCONN', /: ENOTCONN$/],
    ['secret text', /: it failed$/],
    [5, /: it failed$/],
  ] as const) {
    const answer = helper.ask({ do: 'a' }, LONG_MS);
    await settled();
    last().say({ ok: false, errno });
    await assert.rejects(
      answer,
      (error: MountError) => error instanceof MountError && message.test(error.message),
    );
  }
});

test('when it ends nobody waits any longer, its end is told with its pid, and the next question starts another', async (t) => {
  const { helper, children, deaths, last } = setUp();
  t.after(() => helper.stop());
  const answer = helper.ask({ do: 'a' }, LONG_MS);
  const { pid } = last();
  last().end({ code: undefined, signal: 'SIGSEGV' });
  await assert.rejects(answer, because('ended'));
  assert.deepEqual(deaths, [{ pid, code: undefined, signal: 'SIGSEGV' }]);
  const again = helper.ask({ do: 'b' }, LONG_MS);
  children[0]?.say({ ok: true, from: 'the dead' });
  await settled();
  last().say({ ok: true, from: 'the living' });
  assert.deepEqual(await again, { ok: true, from: 'the living' });
});

test('one that says what is no message is ended', async (t) => {
  const { helper, last } = setUp();
  t.after(() => helper.stop());
  const answer = helper.ask({ do: 'a' }, LONG_MS);
  last().say('not json\n');
  await assert.rejects(answer, because('ended'));
  assert.deepEqual(last().signals, ['SIGKILL']);
});

test('one that is asked nothing for a while is ended in silence; the next question starts another', async (t) => {
  const { helper, children, deaths, last } = setUp(20);
  t.after(() => helper.stop());
  const first = helper.ask({ do: 'a' }, LONG_MS);
  await sleep(60);
  assert.equal(children.length, 1);
  assert.notEqual(helper.pid, undefined, 'it was still asked something');
  last().say({ ok: true });
  await first;
  const end = Date.now() + patient(5000);
  while (helper.pid !== undefined && Date.now() < end) await sleep(5);
  assert.equal(helper.pid, undefined);
  assert.deepEqual(deaths, []);
  const second = helper.ask({ do: 'b' }, LONG_MS);
  await settled();
  assert.deepEqual(last().heard, [{ do: 'b' }]);
  last().say({ ok: true });
  await second;
  assert.equal(children.length, 2);
});

test('one that will be asked something soon is not ended for being asked nothing', async (t) => {
  let isExpected = true;
  const { helper, children } = setUp(20, { isExpected: () => isExpected });
  t.after(() => helper.stop());
  helper.start();
  await sleep(100);
  assert.notEqual(helper.pid, undefined);
  isExpected = false;
  const end = Date.now() + patient(5000);
  while (helper.pid !== undefined && Date.now() < end) await sleep(5);
  assert.equal(helper.pid, undefined);
  assert.equal(children.length, 1);
});

test('one that is late is ended where that is asked for, and nobody waits behind it', async (t) => {
  const { helper, children, last } = setUp(undefined, { endLate: true });
  t.after(() => helper.stop());
  const first = helper.ask({ do: 'a' }, LONG_MS);
  await settled();
  last().say({ ok: true });
  await first;
  const [late, behind] = [helper.ask({ do: 'b' }, 20), helper.ask({ do: 'c' }, LONG_MS)];
  await assert.rejects(late, because('late'));
  await assert.rejects(behind, because('ended'));
  assert.deepEqual(children[0]?.signals, ['SIGKILL']);
});

test('one that starts is ended when it is late for the third time, and one that answered in between is not', async (t) => {
  const { helper, children, last } = setUp(undefined, { endLate: true });
  t.after(() => helper.stop());
  const starting = helper.ask({ do: 'a' }, 20);
  const behind = helper.ask({ do: 'b' }, LONG_MS);
  await assert.rejects(starting, because('late'));
  assert.deepEqual(last().signals, []);
  await assert.rejects(behind, because('ended'));
  assert.deepEqual(last().signals, ['SIGKILL']);
  const slow = helper.ask({ do: 'c' }, 200);
  await assert.rejects(slow, because('late'));
  last().say({ ok: true });
  await sleep(600);
  assert.deepEqual([children.length, last().signals], [2, []]);
});

test('after stop() there is no answer', async () => {
  const { helper, last } = setUp();
  const answer = helper.ask({ do: 'a' }, LONG_MS);
  helper.stop();
  await assert.rejects(answer, because('ended'));
  assert.deepEqual(last().signals.slice(0, 1), ['SIGKILL']);
  await assert.rejects(helper.ask({ do: 'b' }, LONG_MS), because('ended'));
});

test('a question does not start another where two ended in a row: there is no answer until its time has come', async (t) => {
  const { helper, children, last } = setUp();
  t.after(() => helper.stop());
  helper.start();
  last().end();
  await settled();
  const second = helper.ask({ do: 'a' }, LONG_MS);
  assert.equal(children.length, 2);
  last().end();
  await assert.rejects(second, because('ended'));
  await assert.rejects(helper.ask({ do: 'b' }, LONG_MS), because('ended'));
  assert.equal(children.length, 2);
  const end = Date.now() + patient(5000);
  while (children.length === 2 && Date.now() < end) await sleep(5);
  const third = helper.ask({ do: 'c' }, LONG_MS);
  last().say({ ok: true });
  assert.deepEqual(await third, { ok: true });
  assert.equal(children.length, 3);
});
