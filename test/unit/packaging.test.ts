/** What goes into the packages as it is. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { parseConfig } from '../../src/daemon/config-yaml.ts';
import { REPOSITORY } from '../support/paths.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const EXAMPLE = path.join(REPOSITORY, 'packaging/example.yaml');

test('the example of a config is one, with and without what is commented out', () => {
  const text = readFileSync(EXAMPLE, 'utf8');
  assert.deepEqual(Object.keys(parseConfig(EXAMPLE, text)), ['bundle', 'mountpoint', 'acceptKey']);
  const all = parseConfig(EXAMPLE, text.replace(/^#(\w+:| +- )/gm, '$1'));
  assert.deepEqual(Object.keys(all).sort(), [
    ...['acceptKey', 'bundle', 'files', 'hooks', 'mountpoint', 'poll', 'statusGroup'],
  ]);
});

test('install.sh --root removes what the version of before had from that tree, and nothing outside of it', async (t) => {
  const base = await temporaryDirectory(t);
  const [root, host] = [path.join(base, 'root'), path.join(base, 'host')];
  const manifest = 'usr/lib/secretsfs/manifest';
  const victims = [path.join(host, 'file'), path.join(host, 'empty/')];
  for (const tree of [root, path.join(base, 'tree')])
    mkdirSync(path.join(tree, path.dirname(manifest)), { recursive: true });
  for (const above of ['', root]) {
    mkdirSync(path.join(above, host, 'empty'), { recursive: true });
    writeFileSync(path.join(above, host, 'file'), '');
  }
  writeFileSync(path.join(root, manifest), `/${manifest}\n${victims.join('\n')}\n`);
  writeFileSync(path.join(base, 'tree', manifest), `/${manifest}\n`);
  copyFileSync(path.join(REPOSITORY, 'packaging/install.sh'), path.join(base, 'install.sh'));
  execFileSync('/bin/sh', [path.join(base, 'install.sh'), '--root', root], { timeout: 20_000 });
  for (const victim of victims) {
    assert.ok(existsSync(victim), victim);
    assert.ok(!existsSync(path.join(root, victim)), `${victim} below the tree`);
  }
  assert.ok(existsSync(path.join(root, manifest)));
});
