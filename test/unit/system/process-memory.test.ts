import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { anonymousBytes } from '../../../src/system/process-memory.ts';

test('what a process has for itself grows with what it touches, and a process that has ended has none', async (t) => {
  const MIB = 1024 * 1024;
  const script = `process.stdin.once('data', () => { globalThis.held = Buffer.alloc(64 * ${MIB}, 1); console.log('held') }); console.log('there')`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  t.after(async () => {
    child.kill('SIGKILL');
    await gone;
  });
  const said = () => new Promise((resolve) => child.stdout.once('data', resolve));
  const pid = child.pid as number;
  await said();
  const before = anonymousBytes(pid) as number;
  assert.ok(before > MIB && before < 200 * MIB, `${before}`);
  const held = said();
  child.stdin.write('x');
  await held;
  const grown = (anonymousBytes(pid) as number) - before;
  assert.ok(grown > 60 * MIB && grown < 80 * MIB, `${grown}`);
  child.kill('SIGKILL');
  await gone;
  assert.equal(anonymousBytes(pid), undefined);
});
