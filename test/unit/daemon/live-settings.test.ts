import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyLive, type LiveMount } from '../../../src/daemon/live-settings.ts';
import type { PartOptions } from '../../../src/daemon/mount-options.ts';
import { ServedRules } from '../../../src/daemon/served-rules.ts';
import type { SupervisorOptions } from '../../../src/daemon/supervisor-options.ts';
import { ConfigError, MountError } from '../../../src/errors.ts';
import type { OpensSettings } from '../../../src/opens/rules.ts';

const PART = {
  directory: undefined,
  sources: [{ bundle: '/a', aws: {} }],
  name: 'web',
  rules: [],
  pollMs: 30_000,
  filesMax: 10,
  unsealsPerMinute: 10,
  checks: {},
} as unknown as PartOptions;
const BEFORE = {
  parts: [PART],
  hooks: [],
  execChecks: [],
  retireAfterMs: 1000,
  consistencyWindowMs: 2000,
  metrics: { listen: undefined, fileLabels: false },
  opens: { rules: [], audit: false },
} as unknown as SupervisorOptions;
const RULES = [{ match: 'a', mode: 0o640 }];

function setUp(failing: 'hooks' | 'checks' | 'servers' | undefined = undefined) {
  const did: string[] = [];
  const note = (what: string) => () => {
    did.push(what);
    if (what === failing) throw new ConfigError('config-invalid', 'cannot use it', { hint: 'mend it' });
  };
  const windows: (number | undefined)[] = [];
  const rules = new ServedRules([]);
  const opens = { current: { rules: [], audit: false } as OpensSettings };
  const mount: LiveMount = {
    parts: { between: (act) => act(), configure: note('parts') },
    hooks: {
      async prepare() {
        note('hooks')();
        return note('put hooks');
      },
    },
    engine: {
      configure: ({ consistencyWindowMs }) => {
        if (consistencyWindowMs === undefined) did.push('engine');
        else windows.push(consistencyWindowMs);
      },
      async replaceServers() {
        did.push('servers');
        if (failing === 'servers')
          throw new MountError('upgrade-refused', 'cannot upgrade', { hint: 'later' });
      },
    },
    rules,
    opens,
    async makeChecks() {
      note('checks')();
      return undefined;
    },
    commit: (_, checks) => did.push(checks === undefined ? 'commit' : 'commit with checks'),
    watchAgain: note('watch'),
    look: (anew) => did.push(anew ? 'open again' : 'look'),
  };
  const apply = (change: Partial<PartOptions>, ofMount: Partial<SupervisorOptions> = {}) =>
    applyLive(BEFORE, { ...BEFORE, ...ofMount, parts: [{ ...PART, ...change }] }, mount);
  return { did, windows, rules, opens, apply };
}
const COMMITTED = ['hooks', 'engine', 'parts', 'commit', 'put hooks'];

test('an interval concerns the agent; a limit nobody else; another bundle is looked for', async () => {
  for (const [change, after] of [
    [{ pollMs: 5000 }, ['watch']],
    [{ unsealsPerMinute: 5 }, []],
    [{ sources: [{ bundle: '/b', aws: {} }] }, ['watch', 'look']],
    [{ name: 'api' }, ['open again']],
  ] as const) {
    const { did, apply } = setUp();
    await apply(change);
    assert.deepEqual(did, [...COMMITTED, ...after], JSON.stringify(change));
  }
});

test('metrics concern the agent, as an interval does; how long is waited to retire, nobody else', async () => {
  const { did, apply } = setUp();
  await apply({}, { metrics: { listen: undefined, fileLabels: true } });
  assert.deepEqual(did, [...COMMITTED, 'watch']);
  did.length = 0;
  await apply({}, { retireAfterMs: 5 });
  assert.deepEqual(did, COMMITTED);
});

test('servers are replaced before anything else, knowing the rules of what is live, until other ones are', async () => {
  const { did, rules, windows, apply } = setUp();
  await apply({ rules: RULES }, { consistencyWindowMs: 500 });
  assert.deepEqual(did.slice(0, 4), ['hooks', 'checks', 'servers', 'engine']);
  assert.deepEqual(did.at(-1), 'open again');
  assert.deepEqual([rules.current, rules.before, windows], [RULES, [], [500]]);
  rules.activated();
  assert.equal(rules.before, undefined);
});

test('servers are replaced where others may open files, and told so first', async () => {
  const changed = { rules: [{ match: 'a', allow: [{ uid: 5 }] }], audit: true };
  const { did, opens, apply } = setUp();
  await apply({}, { opens: changed });
  assert.deepEqual(did, ['hooks', 'servers', ...COMMITTED.slice(1)]);
  assert.deepEqual(opens.current, changed);
  const failing = setUp('servers');
  await assert.rejects(failing.apply({}, { opens: changed }));
  assert.deepEqual(failing.opens.current, { rules: [], audit: false });
});

for (const failing of ['hooks', 'checks', 'servers'] as const) {
  test(`nothing is applied where ${failing} fail`, async () => {
    const { did, rules, windows, apply } = setUp(failing);
    await assert.rejects(apply({ rules: RULES, pollMs: 5000, name: 'api' }, { consistencyWindowMs: 500 }));
    assert.equal(did.at(-1), failing);
    assert.deepEqual([rules.current, rules.before], [[], undefined]);
    assert.ok(windows.length === 0 || windows.at(-1) === 2000);
  });
}
