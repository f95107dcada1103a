/** Hooks as a supervisor has them: real programs, probes that a test answers. As root. */
import assert from 'node:assert/strict';
import { chmod, chown, readFile, writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { Hooks } from '../../src/daemon/hooks.ts';
import type { Event } from '../../src/daemon/log.ts';
import type { Activated, FileChange } from '../../src/hooks/changes.ts';
import type { ProbeAnswer } from '../../src/hooks/probe-state.ts';
import { hooksSchema } from '../../src/hooks/settings.ts';
import { realTimers, type Timers } from '../../src/system/timers.ts';
import { account } from '../../src/system/users.ts';
import { eventually } from '../support/program.ts';
import { rootDirectory, script } from '../support/root-directory.ts';

const MOUNTPOINT = '/srv/web';
const PROBE = { address: '127.0.0.1:1', certificate: 'web.crt' };
/** Appends its arguments and what it is told to a file beside it. */
const SAY = '#!/bin/sh\n{ echo "args $*"; cat; } >> "$0.said"\n';

async function start(
  t: TestContext,
  hooks: unknown,
  probe: () => ProbeAnswer = () => ({ serial: null, error: 'none' }),
  timers: Timers = realTimers,
) {
  const events: { event: Event; fields: Record<string, unknown> }[] = [];
  const note = (event: Event, fields: Record<string, unknown> = {}) => void events.push({ event, fields });
  const made = new Hooks(hooksSchema.parse(hooks), {
    log: { info: note, warn: note, error: note },
    nowMs: Date.now,
    timers,
    random: Math.random,
    probe: async () => probe(),
    spawnHaproxyUpdater: () => assert.fail('no haproxy'),
  });
  await made.start(MOUNTPOINT);
  t.after(() => made.stop());
  const seen = (event: Event) => events.filter((each) => each.event === event);
  const until = (event: Event, count: number) =>
    eventually(async () => assert.ok(seen(event).length >= count, JSON.stringify(events)));
  return { hooks: made, events, seen, until };
}

function activation(generation: number, serial: string, changed: FileChange[], first = false): Activated {
  const certificates = [{ path: 'web.crt', serial }];
  return { generation, serial: 100 + generation, first, changed, certificates, uploaded: null };
}
const CHANGED: FileChange[] = [
  { path: 'web.crt', change: 'changed' },
  { path: 'd/"\n', change: 'added' },
];

test('a program is told of what matches, once for all files, by its standard input alone', async (t) => {
  const directory = await rootDirectory(t);
  const program = await script(directory, 'say', SAY);
  const { hooks, until, seen } = await start(t, [
    { name: 'a', match: ['d/*', 'web.*'], run: [program, 'x'] },
    { name: 'b', match: ['other'], run: [program, 'y'] },
  ]);
  hooks.activated(activation(1, '01', [], true));
  hooks.activated(activation(2, '02', [...CHANGED, { path: 'unrelated', change: 'removed' }]));
  await until('hook-done', 1);
  const said = await readFile(`${program}.said`, 'utf8');
  const [args, told, end] = said.split('\n');
  assert.deepEqual([args, end], ['args x', '']);
  assert.deepEqual(JSON.parse(told ?? ''), {
    generation: 2,
    serial: 102,
    mountpoint: MOUNTPOINT,
    changed: CHANGED,
    more: 0,
  });
  assert.equal(seen('hook-started').length, 1);
  const [a, b] = hooks.status().hooks;
  assert.deepEqual([a?.outcome, a?.lastRun?.generation, a?.error], ['done', 2, null]);
  assert.deepEqual([b?.outcome, b?.lastRun], [null, null]);
});

test('a hook that fails says so until it has succeeded; who repeats it learns how it went', async (t) => {
  const directory = await rootDirectory(t);
  const program = await script(directory, 'fail', '#!/bin/sh\necho because >&2\nexit 3\n');
  const { hooks, until, seen } = await start(t, [{ name: 'a', run: [program] }]);
  await assert.rejects(hooks.run('a'), { code: 'hook-failed', message: /nothing is served yet/ });
  await assert.rejects(hooks.run('b'), { code: 'hook-unknown', hint: 'there are: a' });
  hooks.activated(activation(1, '01', [], true));
  hooks.activated(activation(2, '02', CHANGED));
  await until('hook-failed', 1);
  assert.deepEqual(
    [hooks.status().hooks[0]?.outcome, hooks.status().hooks[0]?.error],
    ['failed', 'exited with 3'],
  );
  assert.deepEqual(seen('hook-output')[0]?.fields, { hook: 'a', stream: 'stderr', line: 'because' });
  await assert.rejects(hooks.run('a'), {
    code: 'hook-failed',
    message: 'cannot run hook "a": exited with 3',
  });
  await writeFile(program, SAY);
  assert.equal((await hooks.run('a')).serial, 102);
  assert.deepEqual(
    JSON.parse((await readFile(`${program}.said`, 'utf8')).split('\n')[1] ?? '').changed,
    CHANGED,
  );
  assert.equal(hooks.status().hooks[0]?.outcome, 'done');

  await chmod(directory, 0o777);
  await assert.rejects(hooks.run('a'), { code: 'hook-failed', message: /is writable by everybody/ });
  await chmod(directory, 0o755);
});

test('a program in the wrong place, an unknown user: it does not start', async (t) => {
  const directory = await rootDirectory(t);
  const program = await script(directory, 'say', SAY);
  await assert.rejects(start(t, [{ name: 'a', run: [program], user: 'no-such-user' }]), {
    code: 'config-invalid',
  });
  await chmod(program, 0o777);
  await assert.rejects(start(t, [{ name: 'a', run: [program] }]), { code: 'config-untrusted' });
});

test('haproxy is spoken to where root, or who is named, alone could listen', async (t) => {
  const directory = await rootDirectory(t);
  const { uid, gid } = await account('nobody');
  await chown(directory, uid, gid);
  const haproxy = { socket: `${directory}/sock`, unit: 'haproxy' };
  const named = await start(t, [{ name: 'a', haproxy: { ...haproxy, socketOwner: 'nobody' } }]);
  await assert.rejects(start(t, [{ name: 'a', haproxy }]), { code: 'config-untrusted' });
  const unknown = { ...haproxy, socketOwner: 'no-such-user' };
  await assert.rejects(start(t, [{ name: 'a', haproxy: unknown }]), { code: 'config-invalid' });
  await chmod(directory, 0o757);
  named.hooks.activated(activation(1, '01', [], true));
  await assert.rejects(named.hooks.run('a'), {
    code: 'hook-failed',
    message: /cannot use socket .* everybody/,
  });
});

test('a hook that takes too long is ended, and so is one that runs when the mount stops', async (t) => {
  const directory = await rootDirectory(t);
  const program = await script(directory, 'hang', '#!/bin/sh\nsleep 300\n');
  const first = await start(t, [{ name: 'a', timeout: '500ms', run: [program] }]);
  first.hooks.activated(activation(1, '01', [], true));
  first.hooks.activated(activation(2, '02', CHANGED));
  await first.until('hook-failed', 1);
  assert.match(String(first.hooks.status().hooks[0]?.error), /took too long/);
  const second = await start(t, [{ name: 'a', atStart: true, run: [program] }]);
  second.hooks.activated(activation(1, '01', [], true));
  await second.until('hook-started', 1);
  await second.hooks.stop();
  assert.equal(second.seen('hook-failed').length, 1);
});

test('nginx is tested, reloaded and looked at, and reloaded once more where it does not serve the new certificate', async (t) => {
  const directory = await rootDirectory(t);
  const binary = await script(directory, 'nginx', SAY);
  let serial = '01';
  const probe = () => ({ serial, error: null });
  const { hooks, until } = await start(
    t,
    [{ name: 'web', timeout: '2s', nginx: { binary, probes: [PROBE] } }],
    probe,
  );
  hooks.activated(activation(1, '01', [], true));
  const said = async () =>
    (await readFile(`${binary}.said`, 'utf8')).split('\n').filter((line) => line.startsWith('args'));
  hooks.activated(activation(2, '02', CHANGED));
  await eventually(async () => assert.equal((await said()).length, 4));
  assert.deepEqual(await said(), ['args -t -q', 'args -s reload', 'args -t -q', 'args -s reload']);
  serial = '02';
  await until('hook-done', 1);
  const status = hooks.status().probes[0];
  assert.deepEqual([status?.verdict, status?.servedSerial, status?.expectedSerial], ['served', '02', '02']);
  assert.ok((status?.propagationMs ?? -1) >= 0);

  hooks.activated(activation(3, '03', CHANGED));
  await until('hook-failed', 1);
  assert.equal((await said()).length, 8);
  assert.equal(hooks.status().hooks[0]?.error, 'the agent says that 127.0.0.1:1 serves serial 02, want 03');
  await until('probe-wrong', 1);
});

test('after a start, a server that serves another certificate is told, and one that is not there is not', async (t) => {
  const directory = await rootDirectory(t);
  const program = await script(directory, 'say', SAY);
  const hook = { name: 'a', run: [program], probes: [PROBE], timeout: '1s' };
  let old = await start(t, [hook], () => ({ serial: '00', error: null }));
  old.hooks.activated(activation(1, '01', [], true));
  await old.until('hook-started', 1);
  let asked = 0;
  old = await start(t, [hook], () => {
    asked += 1;
    return { serial: null, error: 'ECONNREFUSED' };
  });
  old.hooks.activated(activation(1, '01', [], true));
  await eventually(async () => assert.ok(asked >= 3));
  assert.equal(old.seen('hook-started').length, 0);
});

test('whatever an agent says is served, a hook reloads twice for a generation at the most, and not between them', async (t) => {
  const directory = await rootDirectory(t);
  // Looks around when the test says so; waits for nothing else.
  let around: (() => void) | undefined;
  const timers: Timers = {
    set: (callback, ms) => {
      if (ms < 50_000) return setTimeout(callback, ms);
      around = callback;
      return undefined;
    },
    clear: (timer) => clearTimeout(timer as NodeJS.Timeout | undefined),
  };
  const lookAround = async () => {
    const look = around;
    around = undefined;
    look?.();
    await eventually(async () => assert.ok(around !== undefined));
  };
  const serials = ['00', '01', '02', null];
  const liars: Record<string, (nth: number) => string | null> = {
    always: () => '00',
    never: () => null,
    inTurn: (nth) => serials[nth % serials.length] as string | null,
    // As soon as it is told of a reload, it was in vain.
    late: (nth) => (nth % 3 === 2 ? '02' : '00'),
  };
  for (const [name, says] of Object.entries(liars)) {
    const binary = await script(directory, `nginx-${name}`, SAY);
    let asked = 0;
    const { hooks, seen } = await start(
      t,
      [{ name, timeout: '1s', debounce: '0s', nginx: { binary, probes: [PROBE] } }],
      () => ({ serial: says(asked++), error: null }),
      timers,
    );
    const reloads = async () =>
      (await readFile(`${binary}.said`, 'utf8').catch(() => '')).split('args -s reload').length - 1;
    const over = () =>
      eventually(async () => {
        assert.equal(hooks.status().hooks[0]?.state, 'idle');
        assert.equal(seen('hook-started').length, seen('hook-done').length + seen('hook-failed').length);
      });
    hooks.activated(activation(1, '01', [], true));
    await eventually(async () => assert.ok(asked > 0));
    for (let i = 0; i < 10; i++) await lookAround();
    await over();
    // One run, where it was said to serve something else.
    assert.ok(seen('hook-started').length <= 1, name);
    const first = await reloads();
    assert.ok(first <= 2, `${name}: ${first}`);
    hooks.activated(activation(2, '02', CHANGED));
    await eventually(async () => assert.ok((await reloads()) > first));
    await over();
    for (let i = 0; i < 10; i++) await lookAround();
    const second = (await reloads()) - first;
    assert.ok(second >= 1 && second <= 2, `${name}: ${second}`);
    if (name === 'always') assert.deepEqual([first, second], [2, 2]);
    assert.ok(seen('hook-started').length <= 2, name);
    // The log is told of changes, and no more often than it was looked.
    assert.ok(seen('probe-served').length + seen('probe-wrong').length <= asked, name);
    await hooks.stop();
  }
});

test('other hooks take their place: the same ones go on, what one had not told is told by its heir', async (t) => {
  const directory = await rootDirectory(t);
  const say = await script(directory, 'say', SAY);
  // What two say at once may stand in any order: the heir has a file of its own.
  const sayHeir = await script(directory, 'say-heir', SAY);
  const hang = await script(directory, 'hang', '#!/bin/sh\nexec sleep 60\n');
  const parse = (settings: unknown) => hooksSchema.parse(settings);
  const kept = { name: 'kept', match: ['**'], run: [say, 'kept'] };
  const { hooks, until, seen } = await start(t, [
    kept,
    { name: 'web', match: ['**'], run: [hang] },
    { name: 'gone', match: ['**'], run: [say, 'gone'] },
  ]);
  hooks.activated(activation(1, '01', [], true));
  hooks.activated(activation(2, '02', CHANGED));
  await until('hook-started', 3);
  await until('hook-done', 2);
  const put = await hooks.prepare(
    parse([
      { name: 'new', match: ['**'], atStart: true, run: [say, 'new'] },
      kept,
      { name: 'web', match: ['web.*'], run: [sayHeir, 'web'] },
    ]),
  );
  assert.deepEqual(
    hooks.status().hooks.map(({ name }) => name),
    ['kept', 'web', 'gone'],
    'nothing has changed yet',
  );
  put();
  await until('hook-done', 4);
  const [fresh, same, heir] = hooks.status().hooks;
  assert.deepEqual([fresh?.name, fresh?.outcome], ['new', 'done']);
  assert.deepEqual([same?.name, same?.lastRun?.generation], ['kept', 2]);
  assert.deepEqual([heir?.name, heir?.outcome], ['web', 'done']);
  const said = (await readFile(`${sayHeir}.said`, 'utf8')).split('\n');
  const told = JSON.parse(said[said.indexOf('args web') + 1] ?? '');
  assert.deepEqual(told.changed, [CHANGED[0]], 'of what was not told, what it is for');
  assert.equal(seen('hook-started').filter(({ fields }) => fields['hook'] === 'kept').length, 1);

  await assert.rejects(
    hooks.prepare(parse([{ name: 'bad', match: ['**'], run: ['/run/secretsfs-none'] }])),
    /secretsfs-none/,
  );
  assert.equal(hooks.status().hooks.length, 3);
  (await hooks.prepare([]))();
  assert.deepEqual(hooks.status().hooks, []);
});
