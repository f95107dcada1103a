import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BundleHeader } from '../../../src/bundle/header.ts';
import { DEFAULT_CHECKS } from '../../../src/checks/settings.ts';
import { Activation } from '../../../src/daemon/activation.ts';
import type { Generation } from '../../../src/generation/generation.ts';
import { LINGERING_GENERATIONS_MAX } from '../../../src/limits.ts';
import { type LockedMemory, openMemoryStore } from '../../../src/store/memory.ts';

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
    checks: DEFAULT_CHECKS,
    rules: [],
    filesMax: 10,
    bytesMax: 1000,
    yield: async () => undefined,
    onRetired: (generation) => retired.push(generation),
  });
  const memories: LockedMemory[] = [];
  const put = async (content: string) => {
    const data = Buffer.from(content);
    const opened = await activation.build(HEADER, [
      { kind: 'file', path: 'f', mode: 0o600, uid: 0, gid: 0, data },
    ]);
    data.fill(0);
    memories.push(opened.generation.memory);
    return activation.activate(opened.generation);
  };
  const open = () => {
    const { vfs } = activation;
    assert.ok(vfs !== undefined);
    const fh = vfs.open(vfs.resolve('/f'), 0);
    const read = () => {
      const target = Buffer.alloc(10);
      return target.toString('utf8', 0, vfs.read(fh, 0, target.length, target));
    };
    return { vfs, fh, read };
  };
  return { store, retired, activation, memories, put, open };
}

const isWiped = (memory: LockedMemory | undefined) => memory?.buffer.every((byte) => byte === 0);

test('a generation is copied, goes live with an account of what changed, and is wiped once nothing holds it', async () => {
  const { store, retired, memories, put, open } = await setUp();
  assert.equal(await put('one'), undefined);
  const { vfs, fh, read } = open();
  const first = vfs.live.imageBytes;
  assert.deepEqual(await put('second'), { added: 0, changed: 1, removed: 0, unchanged: 0 });
  assert.equal(read(), 'one');
  assert.equal(store.bytes, first + vfs.live.imageBytes);
  assert.equal(isWiped(memories[0]), false);
  vfs.release(fh);
  assert.equal(retired.length, 1);
  assert.equal(store.bytes, vfs.live.imageBytes);
  assert.equal(isWiped(memories[0]), true);
  assert.equal(open().read(), 'second');
});

test('only so many superseded generations are kept for open files; the oldest is let go of first', async () => {
  const { retired, put, open } = await setUp();
  await put('0');
  const held: ReturnType<typeof open>[] = [];
  for (let i = 1; i <= LINGERING_GENERATIONS_MAX + 2; i++) {
    held.push(open());
    await put(String(i));
  }
  assert.deepEqual(
    retired.map(({ id }) => id),
    [1, 2],
  );
  held.forEach(({ read }, i) => {
    if (i < 2) assert.throws(read, { code: 'ESTALE' });
    else assert.equal(read(), String(i));
  });
});

test('wipe() leaves no content anywhere and answers ESTALE to what is still open', async () => {
  const { store, memories, put, open, activation } = await setUp();
  await put('one');
  const { vfs, read } = open();
  assert.equal(read(), 'one');
  activation.wipe();
  assert.equal(store.bytes, 0);
  assert.equal(isWiped(memories[0]), true);
  assert.throws(read, { code: 'ESTALE' });
  assert.throws(() => vfs.resolve('/f'), { code: 'ENOENT' });
});
