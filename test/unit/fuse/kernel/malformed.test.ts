import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Vfs } from '../../../../src/vfs/vfs.ts';
import { directory, file, Lineage, nodeAt, symlink } from '../../../support/entries.ts';
import {
  ALIAS_BASE,
  encodeRequest,
  FakeKernel,
  fields,
  names,
  OP,
  readBody,
  STAGING,
  TOKEN,
} from '../../../support/fake-kernel.ts';

const SECRET = 'what must not be answered to the wrong request';
const UNANSWERED: readonly number[] = [OP.FORGET, OP.BATCH_FORGET, OP.INTERRUPT];

function served() {
  const lineage = new Lineage();
  const first = lineage.next([file('f', SECRET), directory('d'), file('d/g'), symlink('l', 'f')]);
  const second = lineage.next([file('f', 'other'), directory('d'), file('d/g'), symlink('l', 'f')]);
  const vfs = new Vfs(second);
  vfs.setGenerations(second, [first]);
  return { vfs, kernel: new FakeKernel(vfs), ino: second.ino(nodeAt(second, 'f')) };
}

test('a request that is shorter than its struct is EINVAL, counted, logged and survived', () => {
  const { kernel, ino } = served();
  const structs = [
    [OP.GETATTR, 16],
    [OP.OPEN, 8],
    [OP.READ, 40],
    [OP.RELEASE, 24],
    [OP.LSEEK, 24],
    [OP.OPENDIR, 8],
    [OP.READDIR, 40],
    [OP.READDIRPLUS, 40],
    [OP.ACCESS, 8],
    [OP.RENAME, 8],
    [OP.RENAME2, 16],
  ] as const;
  for (const [opcode, bytes] of structs) {
    for (const short of [0, bytes - 1]) {
      assert.equal(kernel.ask(opcode, ino, Buffer.alloc(short)).error, 'EINVAL', `opcode ${opcode}`);
    }
  }
  assert.equal(kernel.counters[2], 2 * structs.length);
  assert.equal(kernel.logged[0], `malformed ${OP.GETATTR} 40 1`);
  assert.equal(kernel.lookup(1, 'f').error, 'OK');
});

test('what is logged of malformed requests grows with the logarithm of how many there are', () => {
  const { kernel } = served();
  for (let i = 0; i < 1000; i++) kernel.ask(OP.GETATTR, 1);
  for (let i = 0; i < 1000; i++) kernel.ask(4095, 1);
  assert.equal(kernel.logged.length, 20);
  assert.equal(kernel.logged.at(-1), 'unknown 4095 512');
});

test('names without a NUL, and empty ones, are EINVAL', () => {
  const { kernel } = served();
  // What an earlier request left behind the end of this one is not part of it.
  kernel.request.fill(0);
  for (const body of ['', 'f', '\0', '\0f\0']) {
    for (const opcode of [OP.LOOKUP, OP.UNLINK, OP.RMDIR]) {
      assert.equal(kernel.ask(opcode, 1, Buffer.from(body)).error, 'EINVAL', `${opcode} ${body}`);
    }
  }
});

test('a request that is not as long as it says is EINVAL', () => {
  const { kernel } = served();
  const request = encodeRequest(OP.LOOKUP, 1, names('f'));
  for (const length of [request.length - 1, request.length + 1, 40, 39, 24, 16]) {
    assert.equal(kernel.raw(request, length)?.readInt32LE(4), -22, `${length}`);
  }
  for (const length of [15, 8, 1, 0]) assert.equal(kernel.raw(request, length), undefined);
  assert.equal(kernel.counters[2], 10);
});

test('a malformed request that nobody waits for is not answered', () => {
  const { kernel } = served();
  for (const opcode of UNANSWERED) {
    const request = encodeRequest(opcode, 1, Buffer.alloc(8));
    request.writeUInt32LE(1000, 0);
    assert.equal(kernel.raw(request), undefined);
  }
  assert.equal(kernel.counters[2], UNANSWERED.length);
});

test('extensions behind the arguments are not taken for a name, and may not be longer than the request', () => {
  const { kernel } = served();
  const request = encodeRequest(OP.LOOKUP, 1, Buffer.concat([Buffer.from('f'), Buffer.alloc(7)]));
  request.writeUInt16LE(1, 36);
  assert.equal(kernel.raw(request)?.readInt32LE(4), -22, 'the name is in the extension');
  request.writeUInt16LE(2, 36);
  assert.equal(kernel.raw(request)?.readInt32LE(4), -22);
  request.writeUInt16LE(0, 36);
  assert.equal(kernel.raw(request)?.readInt32LE(4), 0);
});

test('a READ for more than was agreed is EINVAL, not a short read', () => {
  const { kernel, ino } = served();
  assert.equal(kernel.read(ino, ino, 0, 1048577).error, 'EINVAL');
  assert.equal(kernel.read(ino, ino, 0, 0xffffffff).error, 'EINVAL');
  assert.equal(kernel.read(ino, ino, 0, 1048576).body.toString(), 'other');
});

test('an unknown request is ENOSYS, counted and logged', () => {
  const { kernel } = served();
  for (const opcode of [0, 7, 19, 4096, 0xffffffff]) {
    assert.equal(kernel.ask(opcode, 1, Buffer.alloc(64)).error, 'ENOSYS');
  }
  assert.equal(kernel.counters[2], 5);
  assert.equal(kernel.logged[0], 'unknown 0 1');
});

test('a nodeid that no number can hold is stale, and no other inode', () => {
  const { kernel } = served();
  for (const nodeid of [2n ** 64n - 1n, 2n ** 63n, 2n ** 53n + 1n, 2n ** 52n + 2n ** 53n + 2n]) {
    assert.equal(kernel.getattr(nodeid).error, 'ESTALE');
    assert.equal(kernel.open(nodeid).error, 'ESTALE');
  }
});

/** Anything, with a bias for what is nearly right. */
const opcode = fc.oneof(
  fc.constantFrom(OP.LOOKUP, OP.OPEN, OP.READ, OP.READDIR, OP.READDIRPLUS, OP.RENAME, OP.RENAME2),
  fc.constantFrom(...Object.values(OP)),
  fc.nat(0xffffffff),
);
const nodeid = fc.oneof(
  fc.bigInt({ min: 0n, max: 12n }),
  fc.constantFrom(BigInt(STAGING), BigInt(ALIAS_BASE), 2n ** 64n - 1n),
  fc.bigInt({ min: BigInt(ALIAS_BASE), max: BigInt(ALIAS_BASE) + 12n }),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);
const body = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom('f', 'd', 'g', '.', '..', '2', '5', TOKEN, 'x'.repeat(256)).map((name) => names(name)),
  fc.tuple(nodeid, fc.nat(10)).map(([to, name]) => Buffer.concat([fields([64, to]), names(`${name}`, 'f')])),
  fc
    .tuple(fc.nat(12), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.nat(0xffffffff))
    .map(([fh, offset, size]) => readBody(fh, offset, size)),
  fc.tuple(fc.nat(12), fc.nat(8), fc.nat(5000)).map(([fh, offset, size]) => readBody(fh, offset, size)),
);
const nearlyRight = fc
  .record({
    opcode,
    nodeid,
    body,
    uid: fc.constantFrom(0, 1000),
    thread: fc.nat(3),
    cut: fc.integer({ min: -9, max: 9 }),
  })
  .map(({ cut, ...request }) => {
    const bytes = encodeRequest(request.opcode, request.nodeid, request.body, request);
    return { bytes, length: Math.max(0, bytes.length + (Math.abs(cut) > 3 ? 0 : cut)) };
  });
const noise = fc
  .uint8Array({ maxLength: 300 })
  .map((bytes) => ({ bytes: Buffer.from(bytes), length: bytes.length }));

test('no bytes make it throw, answer twice, or answer with a wrong length or to another request', () => {
  const { kernel } = served();
  fc.assert(
    fc.property(fc.oneof({ weight: 5, arbitrary: nearlyRight }, noise), ({ bytes, length }) => {
      kernel.request.fill(0xa5);
      kernel.request.set(bytes);
      const answered = kernel.session.handle(length);
      const known = length >= 40 ? kernel.request.readUInt32LE(4) : 0;
      if (length < 16 || UNANSWERED.includes(known)) return assert.equal(answered, 0);
      assert.ok(answered >= 16 && answered <= kernel.reply.length);
      assert.equal(kernel.reply.readUInt32LE(0), answered);
      assert.equal(kernel.reply.readBigUInt64LE(8), kernel.request.readBigUInt64LE(8));
      const error = kernel.reply.readInt32LE(4);
      assert.ok(error <= 0 && error > -4096);
      if (error !== 0) assert.equal(answered, 16);
      kernel.session.wipe();
      assert.ok(!kernel.reply.includes(SECRET));
    }),
    { numRuns: 20_000 },
  );
  assert.deepEqual(
    kernel.logged.filter((line) => line.startsWith('bug')),
    [],
  );
  // Else the run was about nothing.
  assert.ok((kernel.counters[4] as number) > 30, 'reads');
  assert.ok((kernel.counters[5] as number) > 100, 'lookups');
});
