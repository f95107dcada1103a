import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canResend, type Negotiation, negotiate } from '../../../../src/fuse/kernel/init.ts';
import { encodeRequest, fields, OP } from '../../../support/fake-kernel.ts';

const ALL = 0xffffffff;
const WANTED =
  (1 << 0) | (1 << 4) | (1 << 13) | (1 << 14) | (1 << 18) | (1 << 22) | (1 << 23); /* see INIT_FLAG */
const INIT_EXT = 1 << 30;
const HAS_RESEND = 1 << 7;

function initRequest(major: number, minor: number, flags = ALL, flags2 = ALL, readahead = 131072): Buffer {
  const basic = fields([32, major], [32, minor], [32, readahead], [32, flags]);
  // Linux before 5.17 (7.36) sends no more.
  const body = minor >= 36 ? Buffer.concat([basic, fields([32, flags2]), Buffer.alloc(44)]) : basic;
  return encodeRequest(OP.INIT, 0, body);
}

function accepted(negotiation: Negotiation) {
  assert.equal(negotiation.kind, 'accepted');
  if (negotiation.kind !== 'accepted') throw new Error();
  const { reply, params } = negotiation;
  assert.equal(reply.readUInt32LE(0), reply.length);
  assert.equal(reply.readInt32LE(4), 0);
  return { params, reply, out: reply.subarray(16) };
}

for (let minor = 31; minor <= 45; minor++) {
  test(`negotiate() speaks 7.${minor} with a kernel that does`, () => {
    const request = initRequest(7, minor);
    const { params, reply, out } = accepted(negotiate(request, { resend: true }));
    assert.equal(reply.readBigUInt64LE(8), request.readBigUInt64LE(8));
    assert.equal(out.length, 64);
    assert.equal(out.readUInt32LE(0), 7);
    assert.equal(out.readUInt32LE(4), minor);
    assert.equal(out.readUInt32LE(8), 131072, 'max_readahead');
    const extended = minor >= 36;
    assert.equal(out.readUInt32LE(12), extended ? WANTED | INIT_EXT : WANTED, 'flags');
    assert.equal(out.readUInt32LE(16), 0, 'background');
    assert.equal(out.readUInt32LE(20), 4096, 'max_write');
    assert.equal(out.readUInt32LE(24), 1_000_000_000, 'time_gran');
    assert.equal(out.readUInt16LE(28), 256, 'max_pages');
    assert.equal(out.readUInt16LE(30), 0, 'map_alignment');
    assert.equal(out.readUInt32LE(32), extended ? HAS_RESEND : 0, 'flags2');
    assert.ok(out.subarray(36).every((byte) => byte === 0));
    assert.equal(canResend(params), extended);
    assert.deepEqual(params, {
      minor,
      flags: out.readUInt32LE(12),
      flags2: out.readUInt32LE(32),
      maxReadBytes: 1048576,
    });
  });
}

test('negotiate() answers a later minor version with the last one it knows', () => {
  assert.equal(accepted(negotiate(initRequest(7, 99), { resend: true })).params.minor, 45);
});

test('negotiate() asks for nothing that the kernel does not offer', () => {
  const { params, out } = accepted(negotiate(initRequest(7, 45, (1 << 0) | INIT_EXT, 0), { resend: true }));
  assert.equal(params.flags, 1);
  assert.equal(params.flags2, 0);
  assert.equal(canResend(params), false);
  assert.equal(out.readUInt32LE(32), 0);
});

test('negotiate() does not ask for RESEND where it is switched off', () => {
  const { params } = accepted(negotiate(initRequest(7, 45), { resend: false }));
  assert.equal(canResend(params), false);
  assert.equal(params.flags & INIT_EXT, 0);
});

test('negotiate() counts pages of the size that the kernel has', () => {
  const { out } = accepted(negotiate(initRequest(7, 45), { resend: true, pageBytes: 65536 }));
  assert.equal(out.readUInt16LE(28), 16);
});

test('negotiate() answers a later major version with 7.45 and waits for the next INIT', () => {
  const request = initRequest(8, 0);
  const negotiation = negotiate(request, { resend: true });
  assert.equal(negotiation.kind, 'again');
  const { reply } = negotiation;
  assert.ok(reply !== undefined);
  assert.equal(reply.readUInt32LE(0), reply.length);
  assert.equal(reply.readUInt32LE(16), 7);
  assert.equal(reply.readUInt32LE(20), 45);
});

for (const [major, minor] of [
  [7, 30],
  [7, 0],
  [6, 99],
  [0, 0],
] as const) {
  test(`negotiate() refuses a kernel that speaks ${major}.${minor}, with an error for it`, () => {
    const negotiation = negotiate(initRequest(major, minor), { resend: true });
    assert.equal(negotiation.kind, 'refused');
    if (negotiation.kind !== 'refused') return;
    assert.match(negotiation.reason, new RegExp(`FUSE ${major}\\.${minor}, want 7\\.31`));
    assert.equal(negotiation.reply?.length, 16);
    assert.equal(negotiation.reply.readInt32LE(4), -71);
  });
}

test('negotiate() refuses what is no INIT', () => {
  const init = initRequest(7, 45);
  const longer = Buffer.concat([init, Buffer.alloc(3)]);
  for (const request of [
    Buffer.alloc(0),
    Buffer.alloc(39),
    init.subarray(0, 50),
    init.subarray(0, 57),
    longer,
  ]) {
    assert.deepEqual(negotiate(request, { resend: true }).kind, 'refused');
  }
  assert.equal(negotiate(encodeRequest(OP.STATFS, 1, Buffer.alloc(64)), { resend: true }).kind, 'refused');
});
