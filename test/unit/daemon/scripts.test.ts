import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { checkScript, checkScripts, SCRIPTS } from '../../../src/daemon/scripts.ts';
import { REPOSITORY } from '../../support/paths.ts';

test('SCRIPTS are all the processes that are built', () => {
  const built = readdirSync(path.join(REPOSITORY, 'src/processes'));
  assert.deepEqual([...SCRIPTS].sort(), built.map((file) => file.replace(/\.ts$/, '.mjs')).sort());
});

test('checkScripts() names what the program on disk has not, and checkScript() what can not be started', (t) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'secretsfs-scripts-'));
  const [program] = process.argv.slice(1);
  t.after(() => {
    process.argv[1] = program ?? '';
    rmSync(directory, { recursive: true });
  });
  const at = (name: string) => path.join(directory, name);
  for (const name of ['secretsfs.mjs', ...SCRIPTS]) writeFileSync(at(name), '');
  process.argv[1] = at('secretsfs.mjs');
  checkScripts();
  for (const name of ['prober.sh', 'trial.mjs']) rmSync(at(name));
  assert.throws(checkScripts, { code: 'upgrade-refused', message: /has no prober\.sh, no trial\.mjs$/ });
  checkScript(at('teller.mjs'));
  assert.throws(() => checkScript(at('trial.mjs')), {
    code: 'driver-missing',
    message: /trial\.mjs" is missing$/,
  });
  rmSync(at('secretsfs.mjs'));
  assert.throws(checkScripts, { code: 'driver-missing', message: /is gone$/ });
});
