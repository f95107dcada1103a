import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ArchiveEntry } from '../../../src/bundle/archive.ts';
import { type FileRule, ruledEntries, whyNotRuled } from '../../../src/checks/ownership.ts';
import { whyNotPrivate } from '../../../src/generation/succession.ts';
import { directory, file, Lineage, symlink } from '../../support/entries.ts';

const [NGINX, WEB, DB] = [101, 33, 70];
const OWNER = { uid: 0, gid: 0 };
const ENTRIES = [
  directory('tls', 0o755),
  file('tls/web.crt', 'c', 0o644),
  file('tls/web.key', 'k', 0o640),
  directory('db'),
  directory('db/deep'),
  file('db/deep/password', 'p', 0o604),
  file('other', 'o', 0o777),
  symlink('link', 'tls/web.key'),
];

function applied(rules: readonly FileRule[], preserve = false): Record<string, string> {
  const entries = ruledEntries(ENTRIES, rules, { preserve, owner: OWNER });
  return Object.fromEntries(
    entries.map(({ path, mode, uid, gid }) => [path, `${uid}:${gid} ${mode.toString(8).padStart(4, '0')}`]),
  );
}

const PRIVATE = {
  '': '0:0 0700',
  tls: '0:0 0700',
  'tls/web.crt': '0:0 0600',
  'tls/web.key': '0:0 0600',
  db: '0:0 0700',
  'db/deep': '0:0 0700',
  'db/deep/password': '0:0 0600',
  other: '0:0 0700',
  link: '0:0 0777',
};

test('without a rule everything is root’s alone, or as it was packed', () => {
  assert.deepEqual(applied([]), PRIVATE);
  assert.equal(applied([], true)['tls/web.crt'], '0:0 0644');
});

test('the first rule that matches counts, and what it does not say stays', () => {
  const rules = [
    { match: '**/*.key', gid: WEB, mode: 0o440 },
    { match: 'tls/*', uid: NGINX },
    { match: '**/*.crt', mode: 0o777 },
  ];
  const found = applied(rules);
  assert.equal(found['tls/web.key'], `0:${WEB} 0440`);
  assert.equal(found['tls/web.crt'], `${NGINX}:0 0600`);
  assert.equal(found['other'], '0:0 0700');
  assert.equal(found['link'], '0:0 0777');
});

test('a file that is open to a group can be reached by it, and nothing is listed for it', () => {
  assert.deepEqual(applied([{ match: 'tls/web.key', gid: WEB, mode: 0o440 }]), {
    ...PRIVATE,
    '': `0:${WEB} 0710`,
    tls: `0:${WEB} 0710`,
    'tls/web.key': `0:${WEB} 0440`,
  });
});

test('two groups, another owner, or everybody: then directories can be searched by everybody', () => {
  const two = applied([
    { match: 'tls/*.key', gid: WEB, mode: 0o440 },
    { match: 'db/deep/*', gid: DB, mode: 0o440 },
  ]);
  assert.equal(two['tls'], `0:${WEB} 0710`);
  assert.equal(two['db/deep'], `0:${DB} 0710`);
  assert.equal(two['db'], `0:${DB} 0710`);
  assert.equal(two[''], '0:0 0711');
  assert.equal(applied([{ match: 'tls/*.key', uid: NGINX, mode: 0o400 }])['tls'], '0:0 0711');
  assert.equal(applied([{ match: 'tls/*.crt', mode: 0o444 }])['tls'], '0:0 0711');
});

test('a rule for a directory lets those search it whom it lets read, and ** is the root too', () => {
  assert.deepEqual(applied([{ match: '**', gid: WEB, mode: 0o440 }]), {
    '': `0:${WEB} 0550`,
    tls: `0:${WEB} 0550`,
    'tls/web.crt': `0:${WEB} 0440`,
    'tls/web.key': `0:${WEB} 0440`,
    db: `0:${WEB} 0550`,
    'db/deep': `0:${WEB} 0550`,
    'db/deep/password': `0:${WEB} 0440`,
    other: `0:${WEB} 0440`,
    link: '0:0 0777',
  });
  const mixed = applied([
    { match: 'db/deep/password', gid: DB, mode: 0o440 },
    { match: '**', gid: WEB, mode: 0o440 },
  ]);
  assert.equal(mixed['db/deep'], `0:${WEB} 0551`);
});

/** Whether somebody may search every directory above a path, as the kernel decides. */
function reaches(found: Map<string, ArchiveEntry>, path: string, uid: number, gid: number): boolean {
  const segments = path.split('/').slice(0, -1);
  return ['', ...segments.map((_, i) => segments.slice(0, i + 1).join('/'))].every((each) => {
    const entry = found.get(each) as ArchiveEntry;
    if (entry.uid === uid) return (entry.mode & 0o100) !== 0;
    return (entry.mode & (entry.gid === gid ? 0o010 : 0o001)) !== 0;
  });
}

const rule = fc.record(
  {
    match: fc.constantFrom('**', '**/*.key', 'tls/*', 'tls', 'db/**', 'db/deep/*', 'other', '*'),
    uid: fc.constantFrom(0, NGINX),
    gid: fc.constantFrom(0, WEB, DB),
    mode: fc.constantFrom(0o400, 0o440, 0o444, 0o600, 0o640, 0o604, 0o000, 0o070),
  },
  { requiredKeys: ['match'] },
);
const rules = fc.array(rule, { maxLength: 4 });

test('whoever a file is open to can reach it, by whatever rules', () => {
  fc.assert(
    fc.property(rules, (some) => {
      const found = new Map(
        ruledEntries(ENTRIES, some, { preserve: false, owner: OWNER }).map((e) => [e.path, e]),
      );
      for (const entry of found.values()) {
        if (entry.kind !== 'file') continue;
        const { path, uid, gid, mode } = entry;
        // Root may do everything.
        if (uid !== 0 && (mode & 0o700) !== 0) assert.ok(reaches(found, path, uid, 9999), path);
        if ((mode & 0o070) !== 0) assert.ok(reaches(found, path, 9999, gid), path);
        if ((mode & 0o007) !== 0) assert.ok(reaches(found, path, 9999, 9998), path);
      }
    }),
    { numRuns: 2000 },
  );
});

test('the server takes what the rules make, and nothing that anybody widened', () => {
  const change = fc.record({
    at: fc.nat(),
    uid: fc.option(fc.constantFrom(0, NGINX, 5), { nil: undefined }),
    gid: fc.option(fc.constantFrom(0, WEB, 5), { nil: undefined }),
    mode: fc.option(fc.integer({ min: 0, max: 0o777 }), { nil: undefined }),
  });
  let refused = 0;
  fc.assert(
    fc.property(rules, change, (some, { at, uid, gid, mode }) => {
      const honest = ruledEntries(ENTRIES, some, { preserve: false, owner: OWNER });
      const generation = new Lineage().next(honest, { preserve: true });
      assert.equal(whyNotRuled(generation, some), undefined);
      if (some.length === 0) assert.equal(whyNotPrivate(generation), undefined);
      const i = at % honest.length;
      const was = honest[i] as ArchiveEntry;
      const now = { ...was, uid: uid ?? was.uid, gid: gid ?? was.gid, mode: mode ?? was.mode };
      const isLink = was.kind === 'symlink';
      const widened =
        now.uid !== was.uid || now.gid !== was.gid || (!isLink && (now.mode & 0o077) !== (was.mode & 0o077));
      const forged = new Lineage().next(honest.with(i, now), { preserve: true });
      if (!widened) return;
      refused++;
      assert.notEqual(whyNotRuled(forged, some), undefined, `${was.path} ${JSON.stringify([was, now])}`);
    }),
    { numRuns: 2000 },
  );
  assert.ok(refused > 500, `${refused} were widened`);
});
