/** Checks and rules of a config, in a mount: what is refused, what stays, what its status says, who may read what. */
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { issue } from '../support/certificates.ts';
import { blocksOf } from '../support/documents.ts';
import { Bench, run } from '../support/program.ts';

const CONFIG = `
key: local:key
checks:
  pairs: [{certificate: "tls/*.crt", key: "tls/*.key"}]
  formats: [{match: "*.json", format: json}]
files:
  - {match: "tls/*.key", group: daemon, mode: "0440"}
`;

async function setUp(bench: Bench) {
  await mkdir(bench.path('mnt'));
  await mkdir(bench.path('dir/tls'), { recursive: true });
  await writeFile(bench.path('config.yaml'), CONFIG);
  await bench.must(['keygen', 'key']);
  return async (tree: Record<string, string>) => {
    for (const [name, content] of Object.entries(tree)) await writeFile(bench.path('dir', name), content);
    await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', '--force', 'web.enc']);
  };
}

test('a bad candidate is refused and the live one stays; the right one goes live; status tells all of it', async (t) => {
  const bench = await Bench.create(t);
  const pack = await setUp(bench);
  const [one, two] = [issue({ cn: 'one', serial: '0101', days: 10 }), issue({ cn: 'two', serial: '0202' })];
  await pack({ 'tls/web.crt': one.certificate, 'tls/web.key': one.key, 'app.json': '{"password":"c4n4ry"}' });
  const daemon = await bench.mount(['web.enc', 'mnt', '--config', 'config.yaml']);
  const status = async () => JSON.parse(await bench.must(['status', '--json']))[0];
  const before = await status();
  assert.deepEqual(
    before.certificates.map(({ path, serial }: Record<string, string>) => [path, serial]),
    [['tls/web.crt', '0101']],
  );
  assert.deepEqual(
    before.warnings.map(({ path, rule }: Record<string, string>) => [path, rule]),
    [['tls/web.crt', 'expiry']],
  );
  assert.equal((await daemon.event('check-warning'))['rule'], 'expiry');

  // As docs/checks.md shows it.
  const [{ body: shown }] = blocksOf('refused-pair');
  const bad: [Record<string, string>, string][] = [
    [{ 'tls/web.crt': two.certificate }, shown.trim()],
    [
      { 'tls/web.crt': one.certificate, 'app.json': '{"password":"c4n4ry"' },
      '"app.json" (format): found the end of the file',
    ],
  ];
  for (const [tree, line] of bad) {
    await pack(tree);
    const refused = await bench.secretsfs(['remount', 'web']);
    assert.equal(refused.code, 6);
    assert.ok(refused.stderr.includes(line), refused.stderr);
    assert.match(refused.stderr, /\(check-failed\)/);
    assert.equal(await readFile(bench.path('mnt/tls/web.crt'), 'utf8'), one.certificate);
    assert.equal((await status()).error.code, 'check-failed');
    const verified = await bench.secretsfs(['verify', 'web.enc', '--config', 'config.yaml']);
    assert.equal(verified.code, 6);
    assert.ok(verified.stderr.includes(line), verified.stderr);
  }
  await pack({ 'tls/web.crt': two.certificate, 'tls/web.key': two.key, 'app.json': '{}' });
  await bench.secretsfs(['remount', 'web']);
  assert.equal(await readFile(bench.path('mnt/tls/web.crt'), 'utf8'), two.certificate);
  const after = await status();
  assert.deepEqual([after.state, after.warnings, after.certificates[0].serial], ['live', [], '0202']);
  assert.doesNotMatch(daemon.text, /c4n4ry|BEGIN/);
  const verified = JSON.parse(await bench.must(['verify', 'web.enc', '--config', 'config.yaml', '--json']));
  assert.deepEqual([verified.findings, verified.certificates.length], [[], 1]);
});

test('a group reads what a rule opens to it, and nothing else; an unknown user ends the start', async (t) => {
  const bench = await Bench.create(t);
  const pack = await setUp(bench);
  const { certificate, key } = issue();
  await pack({ 'tls/web.crt': certificate, 'tls/web.key': key });
  await run('chmod', ['0755', bench.directory]);
  await bench.mount(['web.enc', 'mnt', '--config', 'config.yaml', '--driver', 'kernel']);
  const { gid, mode } = await stat(bench.path('mnt/tls/web.key'));
  assert.equal(mode & 0o777, 0o440);
  const as = (command: string, path: string) =>
    run('setpriv', [
      '--reuid',
      '23458',
      '--regid',
      String(gid),
      '--clear-groups',
      command,
      bench.path('mnt', path),
    ]);
  assert.equal((await as('cat', 'tls/web.key')).stdout, key);
  assert.notEqual((await as('cat', 'tls/web.crt')).code, 0);
  assert.notEqual((await as('ls', 'tls')).code, 0);
  await bench.must(['unmount', 'web']);
  await writeFile(bench.path('config.yaml'), 'files: [{match: "*", owner: no-such-user-here}]');
  const refused = await bench.secretsfs([
    'mount',
    'web.enc',
    'mnt',
    '--key',
    'local:key',
    '--config',
    'config.yaml',
  ]);
  assert.equal(refused.code, 3);
  assert.match(
    refused.stderr,
    /cannot use user "no-such-user-here": there is no such user \(config-invalid\)/,
  );
  await rm(bench.path('config.yaml'));
});
