import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { openMemoryStore } from '../../../src/store/memory.ts';
import { REPOSITORY } from '../../support/paths.ts';
import { exec } from '../../support/server.ts';

const lockedKib = async () => Number(/VmLck:\s+(\d+)/.exec(await readFile('/proc/self/status', 'utf8'))?.[1]);

test('allocate() gives locked memory of the size asked for, release() makes every view of it read zeros', async () => {
  const store = await openMemoryStore({ allowSwap: false });
  const before = await lockedKib();
  const memory = store.allocate(1_000_000);
  assert.equal(memory.locked, true);
  assert.equal(memory.buffer.length, 1_000_000);
  assert.ok((await lockedKib()) >= before + 976);
  const view = memory.buffer.subarray(500_000, 500_006);
  view.write('secret');
  assert.equal(memory.buffer.toString('utf8', 500_000, 500_006), 'secret');
  assert.equal(store.bytes, 1_000_000);
  memory.release();
  memory.release();
  assert.deepEqual([...view], [0, 0, 0, 0, 0, 0], 'a view that somebody kept is harmless');
  assert.equal(await lockedKib(), before);
  assert.equal(store.bytes, 0);
});

test('allocate(0) works: a bundle may hold empty files only', async () => {
  const store = await openMemoryStore({ allowSwap: false });
  const memory = store.allocate(0);
  assert.equal(memory.buffer.length, 0);
  memory.release();
});

test('memory that cannot be locked is refused, unless that is allowed', async () => {
  const script = `
    const { MemoryStore } = await import(process.argv[1] + '/build/src/store/memory.js');
    const { loadNative } = await import(process.argv[1] + '/build/src/system/native.js');
    const native = await loadNative();
    try { new MemoryStore(native, false).allocate(16 << 20); console.log('granted'); }
    catch (error) { console.log(error.code, error.exitCode, error.message, '|', error.hint); }
    const memory = new MemoryStore(native, true).allocate(16 << 20);
    memory.buffer.fill(1);
    console.log('allowed', memory.locked);
    memory.release();
    console.log('released', memory.buffer[5]);`;
  const limited = [
    '--memlock=65536:65536',
    'setpriv',
    '--reuid',
    '3001',
    '--regid',
    '3001',
    '--clear-groups',
    '--',
  ];
  const { stdout } = await exec('prlimit', [
    ...limited,
    process.execPath,
    '--input-type=module',
    '-e',
    script,
    REPOSITORY,
  ]);
  const [refused = '', allowed, released] = stdout.trim().split('\n');
  assert.match(
    refused,
    /^memory-unlocked 7 cannot lock 16777216 bytes of memory: mlock failed: ENOMEM \| .*--allow-swap$/,
  );
  assert.equal(allowed, 'allowed false');
  assert.equal(released, 'released 0');
});

test('memory that was dropped without release() is wiped and unmapped all the same', async () => {
  const script = `
    const { openMemoryStore } = await import(process.argv[1] + '/build/src/store/memory.js');
    const { readFileSync } = await import('node:fs');
    const size = () => Number(/VmLck:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
    const store = await openMemoryStore({ allowSwap: true });
    for (let i = 0; i < 20; i++) store.allocate(1 << 20).buffer.fill(1);
    const before = size();
    for (let i = 0; i < 10; i++) { gc(); await new Promise((r) => setTimeout(r, 10)); }
    console.log(before, size());`;
  const { stdout } = await exec(process.execPath, [
    '--expose-gc',
    '--input-type=module',
    '-e',
    script,
    REPOSITORY,
  ]);
  const [before = 0, after = 0] = stdout.trim().split(' ').map(Number);
  assert.ok(before >= 20 * 1024 && after <= 2 * 1024, stdout);
});
