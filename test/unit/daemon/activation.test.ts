import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BundleHeader } from '../../../src/bundle/header.ts';
import { Activation } from '../../../src/daemon/activation.ts';
import type { Generation } from '../../../src/generation/generation.ts';
import { LINGERING_GENERATIONS_MAX } from '../../../src/limits.ts';
import { openMemoryStore } from '../../../src/store/memory.ts';

const HEADER: BundleHeader = {
  name: 'web',
  serial: 1,
  created: '',
  context: {},
  encryptedDataKeys: [],
  frameBytes: 4096,
  headerBytes: 0,
};

async function setUp() {
  const store = await openMemoryStore({ allowSwap: true });
  const retired: Generation[] = [];
  const activation = new Activation({
    store,
    nowMs: () => 1_000_000,
    preserve: false,
    owner: { uid: 0, gid: 0 },
    onRetired: (generation) => retired.push(generation),
  });
  const put = (content: string) => {
    const data = Buffer.from(content);
    const opened = activation.build(HEADER, [{ kind: 'file', path: 'f', mode: 0o600, uid: 0, gid: 0, data }]);
    data.fill(0);
    return activation.activate(opened.generation);
  };
  const open = () => {
    const { vfs } = activation;
    assert.ok(vfs !== undefined);
    return { vfs, fh: vfs.open(vfs.resolve('/f'), 0) };
  };
  return { store, retired, activation, put, open };
}

test('a generation is copied, goes live with an account of what changed, and is wiped once nothing holds it', async () => {
  const { store, retired, put, open } = await setUp();
  assert.equal(put('one'), undefined);
  const { vfs, fh } = open();
  assert.deepEqual(put('second'), { added: 0, changed: 1, removed: 0, unchanged: 0 });
  const view = vfs.read(fh, 0, 10);
  assert.equal(Buffer.from(view).toString(), 'one');
  assert.equal(store.bytes, 9);
  vfs.release(fh);
  assert.equal(retired.length, 1);
  assert.equal(store.bytes, 6);
  assert.ok(view.every((byte) => byte === 0));
});

test('only so many superseded generations are kept for open files; the oldest is let go of first', async () => {
  const { retired, put, open } = await setUp();
  put('0');
  const held: ReturnType<typeof open>[] = [];
  for (let i = 1; i <= LINGERING_GENERATIONS_MAX + 2; i++) {
    held.push(open());
    put(String(i));
  }
  assert.deepEqual(
    retired.map(({ id }) => id),
    [1, 2],
  );
  held.forEach(({ vfs, fh }, i) => {
    if (i < 2) assert.throws(() => vfs.read(fh, 0, 1), { code: 'ESTALE' });
    else assert.equal(Buffer.from(vfs.read(fh, 0, 1)).toString(), String(i));
  });
});

test('wipe() leaves no content anywhere and answers ESTALE to what is still open', async () => {
  const { store, put, open, activation } = await setUp();
  put('one');
  const { vfs, fh } = open();
  const view = vfs.read(fh, 0, 10);
  activation.wipe();
  assert.equal(store.bytes, 0);
  assert.ok(view.every((byte) => byte === 0));
  assert.throws(() => vfs.read(fh, 0, 1), { code: 'ESTALE' });
  assert.throws(() => vfs.resolve('/f'), { code: 'ENOENT' });
});
