import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Caller, type OpenEvent, openGuard } from '../../../src/opens/guard.ts';
import type { OpensSettings } from '../../../src/opens/rules.ts';
import { directory, file, Lineage, nodeAt } from '../../support/entries.ts';

interface Process {
  readonly group: number;
  readonly startedMs?: number;
  readonly status?: string;
  readonly cgroup?: string;
}

function setUp(settings: Partial<OpensSettings>, processes: Readonly<Record<number, Process>> = {}) {
  const generation = new Lineage().next([
    directory('tls'),
    file('tls/web.key', 'k'),
    file('tls/web.crt', 'c'),
    file('other', 'o'),
  ]);
  const said: [string, OpenEvent][] = [];
  const looks: string[] = [];
  const seen = { ...processes };
  const log = { fits: true };
  let nowMs = 0xffff_f000;
  const guard = openGuard(
    { rules: [], audit: false, ...settings },
    {
      sight: {
        group: 0,
        startedMs: 0,
        find(thread) {
          const process = seen[thread];
          Object.assign(this, { group: process?.group ?? 0, startedMs: process?.startedMs ?? 1 });
          return process !== undefined;
        },
        read(thread, name) {
          looks.push(`${thread}/${name}`);
          return seen[thread]?.[name] ?? '';
        },
      },
      nowMs: () => nowMs,
      say(what, event) {
        if (!log.fits) return false;
        said.push([what, event]);
        return true;
      },
    },
  );
  return {
    said,
    log,
    looks,
    seen,
    open: (path: string, caller: Partial<Caller>) =>
      guard(generation, nodeAt(generation, path), { thread: 0, uid: 0, gid: 0, ...caller }),
    pass(ms: number) {
      nowMs = (nowMs + ms) >>> 0;
    },
  };
}

const NGINX = { group: 70, cgroup: '0::/system.slice/nginx.service\n', status: 'Groups:\t4 33 \n' };
const SHELL = { group: 80, cgroup: '0::/user.slice/user-0.slice/session-1.scope\n', status: 'Groups:\t \n' };

test('a file that no rule matches is left to owner and mode, and nobody looks at /proc for it', () => {
  const { open, looks, said } = setUp({ rules: [{ match: 'tls/**', allow: [{ unit: 'nginx.service' }] }] });
  assert.equal(open('other', { thread: 7, uid: 1000 }), true);
  assert.deepEqual([looks, said], [[], []]);
});

test('a rule lets pass whoever is all that one of its entries names, and nobody else, root neither', () => {
  const rules = [
    { match: 'tls/web.crt', allow: [{ uid: 101 }, { gid: 33 }] },
    {
      match: 'tls/*',
      allow: [
        { uid: 0, unit: 'nginx.*' },
        { uid: 5, gid: 6 },
      ],
    },
  ];
  const { open } = setUp({ rules }, { 71: NGINX, 81: SHELL });
  for (const [path, caller, may] of [
    ['tls/web.key', { thread: 71, uid: 0 }, true],
    ['tls/web.key', { thread: 71, uid: 101 }, false],
    ['tls/web.key', { thread: 81, uid: 0 }, false],
    ['tls/web.key', { thread: 0, uid: 0 }, false],
    ['tls/web.key', { thread: 99, uid: 0 }, false],
    ['tls/web.key', { uid: 5, gid: 6 }, true],
    ['tls/web.key', { uid: 5, gid: 7 }, false],
    ['tls/web.crt', { uid: 101, gid: 101 }, true],
    ['tls/web.crt', { uid: 9, gid: 33 }, true],
    // By a supplementary group.
    ['tls/web.crt', { thread: 71, uid: 9, gid: 9 }, true],
    ['tls/web.crt', { thread: 81, uid: 0, gid: 0 }, false],
  ] as const) {
    assert.equal(open(path, caller), may, `${path} ${JSON.stringify(caller)}`);
  }
});

test('a refusal is said with whom and what, once a minute for each process and file', () => {
  const rules = [{ match: 'tls/*', allow: [{ uid: 101 }] }];
  const { open, said, pass, seen } = setUp({ rules }, { 81: SHELL, 82: SHELL });
  const tried = (path: string, thread: number) => {
    assert.equal(open(path, { thread, uid: 7, gid: 8 }), false);
    return said.splice(0).map(([what, { path, opener }]) => `${what} ${path} ${opener}`);
  };
  open('tls/web.key', { thread: 81, uid: 7, gid: 8 });
  assert.deepEqual(said.splice(0), [
    [
      'open-refused',
      {
        ...{ path: 'tls/web.key', opener: 80, uid: 7, gid: 8, unit: 'session-1.scope' },
        ...{ generation: 1, suppressed: 0 },
      },
    ],
  ]);
  // Another thread of the same process; another file; a minute less a moment; a minute.
  assert.deepEqual(tried('tls/web.key', 82), []);
  assert.deepEqual(tried('tls/web.crt', 82), ['open-refused tls/web.crt 80']);
  pass(59_999);
  assert.deepEqual(tried('tls/web.key', 81), []);
  pass(1);
  assert.deepEqual(tried('tls/web.key', 81), ['open-refused tls/web.key 80']);
  // Another process that got its number.
  seen[81] = { ...SHELL, startedMs: 5 };
  assert.deepEqual(tried('tls/web.key', 81), ['open-refused tls/web.key 80']);
  assert.deepEqual(tried('tls/web.key', 0), ['open-refused tls/web.key 0']);
  assert.equal(open('tls/web.key', { thread: 81, uid: 101 }), true);
  assert.deepEqual(said, []);
});

test('with audit, what passes is said as well', () => {
  const { open, said } = setUp({ audit: true }, { 71: NGINX });
  assert.equal(open('tls/web.key', { thread: 71, uid: 0, gid: 0 }), true);
  assert.equal(open('tls/web.key', { thread: 71, uid: 0, gid: 0 }), true);
  assert.deepEqual(said, [
    [
      'file-opened',
      {
        ...{ path: 'tls/web.key', opener: 70, uid: 0, gid: 0, unit: 'nginx.service' },
        ...{ generation: 1, suppressed: 0 },
      },
    ],
  ]);
});

test('what is remembered is bounded, and the newest is kept', () => {
  const { open, said, seen } = setUp({ audit: true });
  for (let thread = 1; thread <= 20_000; thread++) seen[thread] = { group: thread };
  for (let thread = 1; thread <= 20_000; thread++) open('other', { thread });
  assert.equal(said.length, 20_000);
  open('other', { thread: 20_000 });
  assert.equal(said.length, 20_000);
  open('other', { thread: 1 });
  assert.equal(said.length, 20_001);
});

test('a process that goes into another unit is said again', () => {
  const { open, said, seen } = setUp({ audit: true }, { 71: NGINX });
  open('other', { thread: 71 });
  seen[71] = { ...NGINX, cgroup: SHELL.cgroup };
  open('other', { thread: 71 });
  open('other', { thread: 71 });
  assert.deepEqual(
    said.map(([, { unit }]) => unit),
    ['nginx.service', 'session-1.scope'],
  );
});

test('what did not fit into the log counts as not said', () => {
  const { open, said, log } = setUp({ audit: true }, { 71: NGINX });
  log.fits = false;
  open('other', { thread: 71 });
  log.fits = true;
  open('other', { thread: 71 });
  assert.equal(said.length, 1);
});

const RULES = [{ match: 'tls/*', allow: [{ uid: 101 }] }];

/** Opens by ever new processes of a user, all refused: of those that were said, how many before them were not. */
function refusals(settings: Partial<OpensSettings> = {}) {
  const { open, said, seen, ...rest } = setUp({ rules: RULES, ...settings });
  let thread = 0;
  const refuse = (uid: number, count: number) => {
    for (let i = 0; i < count; i++) {
      seen[++thread] = { group: thread };
      assert.equal(open('tls/web.key', { thread, uid }), false);
    }
    return said.splice(0).map(([, { suppressed }]) => suppressed);
  };
  return { refuse, ...rest };
}

test('refusals of a user by ever new processes are said ten at once, then two in five seconds, with how many were not', () => {
  const { refuse, pass, log } = refusals();
  assert.deepEqual(refuse(1000, 500), Array(10).fill(0));
  pass(5000);
  assert.deepEqual(refuse(1000, 500), [490, 0]);
  pass(2500);
  log.fits = false;
  assert.deepEqual(refuse(1000, 1), []);
  log.fits = true;
  pass(2500);
  assert.deepEqual(refuse(1000, 1), [498]);
});

test('a refusal that was not said for want of budget is not taken for said', () => {
  const { open, said, pass, seen } = setUp({ rules: RULES });
  const tried = (thread: number) => {
    seen[thread] = { group: thread };
    open('tls/web.key', { thread, uid: 1000 });
    return said.splice(0).length;
  };
  for (let thread = 1; thread <= 10; thread++) assert.equal(tried(thread), 1);
  assert.equal(tried(11), 0);
  pass(2500);
  assert.equal(tried(11), 1);
});

test('who is refused again and again hides no refusal of others; all users together none of root, nor root theirs', () => {
  const { refuse, pass } = refusals();
  assert.equal(refuse(1000, 500).length, 10);
  assert.deepEqual(refuse(33, 1), [490]);
  let others = 0;
  for (let uid = 2000; uid < 4000; uid++) others += refuse(uid, 20).length;
  // Four of five parts, of which two users had eleven.
  assert.equal(others, 29);
  assert.equal(refuse(0, 20).length, 10);
  pass(5000);
  others = 0;
  assert.equal(refuse(0, 20).length, 2);
  for (let uid = 2000; uid < 4000; uid++) others += refuse(uid, 20).length;
  assert.equal(others, 8);
});

test('a flood of refusals takes nothing from what is let pass and audited', () => {
  const { open, said, seen } = setUp({ rules: RULES, audit: true });
  for (let thread = 1; thread <= 3000; thread++) {
    seen[thread] = { group: thread };
    open('tls/web.key', { thread });
    open('other', { thread });
  }
  const count = (wanted: string) => said.filter(([what]) => what === wanted).length;
  assert.deepEqual([count('open-refused'), count('file-opened')], [400, 3000]);
});
