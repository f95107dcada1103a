import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { withAccepted } from '../../../src/checks/candidate.ts';
import { CERTIFICATES_MAX, FINDINGS_MAX } from '../../../src/checks/findings.ts';
import { LINE_BYTES_MAX } from '../../../src/daemon/channel.ts';
import { checks, type Looking, liveOf, look, type Tree } from '../../support/candidates.ts';
import { chain, issue } from '../../support/certificates.ts';
import { contentOf, nodeAt } from '../../support/entries.ts';

const one = issue({ cn: 'one' });
const two = issue({ cn: 'two' });
const long = issue({ cn: 'long', days: 400 });
const PAIRS = { pairs: [{ certificate: '*.crt', key: '*.key' }] };
const KEEP: Looking = { checks: { ...PAIRS, onBadFile: 'keep' } };
const tree = (name: string, { certificate, key }: { certificate: string; key: string }) => ({
  [`${name}.crt`]: certificate,
  [`${name}.key`]: key,
});
const LIVE = { ...tree('a', one), ...tree('b', one), text: 'old' };

test('with onBadFile keep, a bad file keeps its live version and its partner’s, and the rest goes live', async () => {
  const bad = { ...tree('a', two), 'b.crt': two.certificate, 'b.key': one.key, text: 'new' };
  const { refused, files, findings, warnings } = await look(bad, { ...KEEP, live: LIVE });
  assert.equal(refused, undefined);
  assert.deepEqual(Object.fromEntries(files), { ...tree('a', two), ...tree('b', one), text: 'new' });
  assert.deepEqual(findings?.kept, ['b.crt', 'b.key']);
  assert.match(warnings[0] ?? '', /^b.key \(pair\): found the key of another certificate/);
  const strict = await look(bad, { checks: PAIRS, live: LIVE });
  assert.match(strict.refused ?? '', /^check-failed: "b.key"/);
});

test('what is missing is kept, if it is required; what a glob requires, too', async () => {
  const checks = { required: ['text', 'etc/*.conf'], onBadFile: 'keep' };
  const live = { text: 'old', 'etc/x.conf': 'x', 'etc/y': 'y' };
  const { files, findings } = await look({ other: '1' }, { checks, live });
  assert.deepEqual([...files.keys()].sort(), ['etc/x.conf', 'other', 'text']);
  assert.deepEqual(findings?.kept, ['etc/x.conf', 'text']);
});

test('without a live version, or with one that is as bad, the bundle is refused', async () => {
  const bad = { 'c.crt': two.certificate, 'c.key': one.key };
  const cases: [string, Tree, Looking, RegExp][] = [
    ['nothing live', bad, KEEP, /^check-failed: "c.key"/],
    ['not that file', bad, { ...KEEP, live: LIVE }, /^check-failed: "c.key"/],
    ['half of it', bad, { ...KEEP, live: { 'c.crt': one.certificate } }, /^check-failed: "c.key"/],
    ['as bad', bad, { ...KEEP, live: bad }, /^check-failed: "c.key"/],
    [
      'a directory there now',
      { 'c.crt': two.certificate, 'c.key/x': '' },
      { ...KEEP, live: tree('c', one) },
      /^check-failed: "c.key"/,
    ],
    [
      'a file in place of its directory',
      { d: '' },
      { checks: { required: ['d/f'], onBadFile: 'keep' }, live: { 'd/f': '1' } },
      /"d\/f"/,
    ],
    ['a required glob', {}, { checks: { required: ['*.x'], onBadFile: 'keep' }, live: { a: '' } }, /"\*\.x"/],
    [
      'too much together',
      { a: 'x'.repeat(90) },
      { checks: { required: ['b'], onBadFile: 'keep' }, live: { b: 'y'.repeat(20) }, bytesMax: 100 },
      /"b"/,
    ],
    [
      'too many together',
      { a: '' },
      { checks: { required: ['b'], onBadFile: 'keep' }, live: { b: '' }, filesMax: 1 },
      /"b"/,
    ],
  ];
  for (const [what, candidate, looking, line] of cases) {
    assert.match((await look(candidate, looking)).refused ?? 'accepted', line, what);
  }
});

test('an expired file is kept with its guessed key, and with every certificate of that key', async () => {
  const live = { 'cert.pem': long.certificate, 'fullchain.pem': long.certificate, 'privkey.pem': long.key };
  const bad = {
    'cert.pem': one.certificate,
    'fullchain.pem': two.certificate,
    'privkey.pem': one.key,
    more: '1',
  };
  const { files, findings } = await look(bad, { checks: { onBadFile: 'keep' }, live, inDays: 100 });
  assert.deepEqual(Object.fromEntries(files), { ...live, more: '1' });
  assert.deepEqual(findings?.kept, ['cert.pem', 'fullchain.pem', 'privkey.pem']);
});

test('behind symlinks the whole way is kept; behind one to a directory nothing can be', async () => {
  const checks = { pairs: [{ certificate: 'live/cert', key: 'live/key' }], onBadFile: 'keep' };
  const of = (n: number, { certificate, key }: { certificate: string; key: string }) => ({
    'live/cert': { to: `../archive/cert${n}` },
    'live/key': { to: `../archive/key${n}` },
    [`archive/cert${n}`]: certificate,
    [`archive/key${n}`]: key,
  });
  const bad = { ...of(2, two), 'archive/key2': one.key };
  const { files, findings } = await look(bad, { checks, live: of(1, one) });
  assert.equal(files.get('archive/key1'), one.key);
  assert.deepEqual(findings?.kept, ['live/cert', 'live/key']);
  const indirect = { checks: { pairs: [{ certificate: 'now/cert', key: 'now/key' }], onBadFile: 'keep' } };
  const way = (n: number, key: string) => ({
    now: { to: `v${n}` },
    [`v${n}/cert`]: one.certificate,
    [`v${n}/key`]: key,
  });
  const refused = await look(way(2, two.key), { ...indirect, live: way(1, one.key) });
  assert.match(refused.refused ?? '', /^check-failed: "now\/key"/);
});

test('what was read of the live generation is wiped once it was used, and the live generation is not', async () => {
  const live = liveOf(LIVE);
  const options = { rules: [], preserve: false, owner: { uid: 0, gid: 0 }, filesMax: 10, bytesMax: 1e6 };
  const written = checks({ required: ['a.key'], onBadFile: 'keep' });
  const kept = await withAccepted([], { ...options, checks: written, nowMs: Date.now(), live }, (entries) => {
    const entry = entries.find(({ path }) => path === 'a.key');
    assert.ok(entry?.kind === 'file');
    assert.equal(Buffer.from(entry.data).toString(), one.key);
    return entry.data;
  });
  assert.ok(kept.every((byte) => byte === 0));
  assert.equal(contentOf(live, nodeAt(live, 'a.key')).toString(), one.key);
});

test('the facts of certificates: serial, dates, names, one for each name of a file', async () => {
  const { leaf, middle } = chain({
    cn: 'facts',
    names: ['DNS:a.test', 'DNS:*.b.test', 'IP:192.0.2.1'],
    serial: '0abc',
  });
  const { findings } = await look({
    'tls/web.pem': leaf.certificate + middle.certificate + leaf.key,
    'link.pem': { to: 'tls/web.pem' },
    'ca.pem': middle.certificate,
  });
  const facts = findings?.certificates ?? [];
  assert.deepEqual(
    facts.map(({ path }) => path),
    ['link.pem', 'tls/web.pem'],
  );
  const { serial, names, notBefore, notAfter } = facts[0] as (typeof facts)[number];
  assert.deepEqual([serial, names], ['0abc', ['a.test', '*.b.test', '192.0.2.1']]);
  assert.ok(Date.parse(notBefore) < Date.now() && Date.parse(notAfter) > Date.now());
});

test('5,000 certificates, and a file of ten megabytes of BEGINs, are bounded in work and words', async () => {
  const many: Record<string, string> = {};
  for (let i = 0; i < 2500; i++)
    Object.assign(many, tree(`${'long-name-'.repeat(24)}${i}`, i % 2 === 0 ? one : { ...one, key: two.key }));
  const { findings, said } = await look(many);
  assert.equal(findings?.findings.length, FINDINGS_MAX);
  assert.equal(findings?.warnings, 1250);
  assert.ok(
    (findings?.certificates.length ?? 0) > 1000 && (findings?.certificates.length ?? 0) <= CERTIFICATES_MAX,
  );
  assert.ok(said.length < LINE_BYTES_MAX - 100_000, `${said.length} characters`);
  const begins = Buffer.alloc(10_000_000, '-----BEGIN CERTIFICATE-----\n');
  const ends = Buffer.alloc(10_000_000, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
  const roots = Buffer.from(chain().root.certificate.repeat(8000));
  const large = await look({ begins, ends, roots, 'a.pem': Buffer.alloc(10_000_000) });
  assert.equal(large.warnings.length, 3);
});

test('any tree is taken or refused, and nothing that is in it is said', async () => {
  const canary = 'c4n4ry5ecret';
  const piece = fc.constantFrom(
    ...[
      one.certificate,
      one.key,
      two.key,
      chain().middle.certificate,
      '-----BEGIN CERTIFICATE-----\n',
      '-----END CERTIFICATE-----\n',
    ],
    ...[
      '-----BEGIN EC PRIVATE KEY-----\n',
      '-----END EC PRIVATE KEY-----',
      canary,
      '\n',
      '{',
      '"',
      'A=',
      '\ufeff',
      ': ',
      '\0',
    ],
  );
  const content = fc.array(piece, { maxLength: 6 }).map((pieces) => canary + pieces.join(''));
  const names = ['a.crt', 'a.key', 'a.pem', 'a.json', 'a.env', 'a.yaml', 'd/privkey.pem', 'd/fullchain.pem'];
  const trees = fc.dictionary(
    fc.constantFrom(...names),
    fc.oneof(content, fc.uint8Array({ maxLength: 300 })),
  );
  const configured = {
    ...PAIRS,
    dns: [{ file: '**/*.pem', names: ['a.test'] }],
    formats: ['json', 'yaml', 'dotenv'].map((format) => ({
      match: `*.${format.replace('dot', '')}`,
      format,
    })),
  };
  await fc.assert(
    fc.asyncProperty(
      trees,
      trees,
      fc.constantFrom({}, configured, { ...configured, onBadFile: 'keep' }),
      async (now, live, checks) => {
        const { said } = await look(now as Tree, { checks, live: live as Tree });
        assert.ok(!said.includes(canary), said);
      },
    ),
    { numRuns: 300 },
  );
});

test('a live version is kept only where it leads out through no symlink that is new', async () => {
  const live = { 'd/l': { to: 'sub/../f' }, 'd/sub/x': '', 'd/f': 'was' };
  const checks = { required: ['d/l'], onBadFile: 'keep' };
  const taken = await look({ 'd/sub/y': '' }, { checks, live });
  assert.deepEqual([...taken.files].sort(), [
    ['d/f', 'was'],
    ['d/sub/y', ''],
  ]);
  const { refused } = await look({ 'd/sub': { to: '..' }, f: 'at the root' }, { checks, live });
  assert.match(refused ?? 'taken', /^check-failed: "d\/l"/);
});
