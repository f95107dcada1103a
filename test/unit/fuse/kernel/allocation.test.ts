import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LATENCY_CELLS, Latencies } from '../../../../src/fuse/kernel/latencies.ts';
import { PASSES_WORDS } from '../../../../src/vfs/pass-words.ts';
import { Vfs } from '../../../../src/vfs/vfs.ts';
import { directory, file, Lineage, nodeAt } from '../../../support/entries.ts';
import { encodeRequest, FakeKernel, fields, names, OP, readBody } from '../../../support/fake-kernel.ts';

const CALLS = 2000;

/**
 * Bytes of heap that a call of `work` takes once it is compiled: the least of many samples, without those in which
 * memory was collected.
 */
async function heapBytes(work: () => void): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let sample = 0; sample < 50; sample++) {
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < CALLS; i++) work();
    const bytes = (process.memoryUsage().heapUsed - before) / CALLS;
    if (bytes >= 0) least = Math.min(least, bytes);
    // What was compiled in the background is put in place between turns.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return least;
}

test('an ordinary request allocates nothing', async () => {
  const generation = new Lineage().next([file('f', 'content'), directory('d'), file('d/g')]);
  const consistency = {
    words: new Uint32Array(PASSES_WORDS),
    windowMs: 2000,
    groups: { find: () => false, group: 0, startedMs: 0 },
    // The clock's own number is one: 16 bytes.
    nowMs: () => 1000,
  };
  const kernel = new FakeKernel(new Vfs(generation), { consistency });
  const ino = generation.ino(nodeAt(generation, 'f'));
  const requests = {
    lookup: encodeRequest(OP.LOOKUP, 1, names('f')),
    getattr: encodeRequest(OP.GETATTR, ino, Buffer.alloc(16)),
    open: encodeRequest(OP.OPEN, ino, fields([32, 0], [32, 0])),
    release: encodeRequest(OP.RELEASE, ino, Buffer.alloc(24)),
    readdir: encodeRequest(OP.READDIR, 1, readBody(1, 0, 4096)),
  };
  for (const [name, request] of Object.entries(requests)) {
    kernel.request.set(request);
    const bytes = await heapBytes(() => {
      kernel.session.handle(request.length);
      kernel.session.wipe();
    });
    assert.ok(bytes < 8, `${name} takes ${bytes} bytes`);
  }
  const latencies = new Latencies(new Float64Array(LATENCY_CELLS));
  const timing = await heapBytes(() => {
    if (latencies.isDue()) latencies.record(OP.READ, 0.0175);
  });
  assert.ok(timing < 8, `timing takes ${timing} bytes`);
  // Else the measure is not one.
  assert.ok((await heapBytes(() => Buffer.from(requests.lookup))) > 8);
});
