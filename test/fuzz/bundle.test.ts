/** Whatever the bytes, an answer or a SecretsfsError: never another exception, a hang, or memory by claim. */
import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type ArchiveEntry,
  lintArchive,
  listArchive,
  readArchive,
  writeArchive,
} from '../../src/bundle/archive.ts';
import { readHeader, unseal } from '../../src/bundle/envelope.ts';
import { localKeyring } from '../../src/keyring/local.ts';
import { KEY, outcome, sealTest } from '../support/bundles.ts';
import { member, pax, tarOf } from '../support/tars.ts';

const LIMITS = { filesMax: 10_000, bytesMax: 10_000_000 };
const { keyring } = localKeyring(KEY);

const isName = (name: string) =>
  name !== '' && name !== '.' && name !== '..' && !/[/\0\ufffd]/.test(name) && Buffer.byteLength(name) <= 255;
const nameArbitrary = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('a', 'b', 'c', 'tls.pem', 'n'.repeat(255), 'é'.repeat(127)) },
  { weight: 2, arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 60 }).filter(isName) },
);
const statArbitrary = {
  mode: fc.integer({ min: 0, max: 0o777 }),
  uid: fc.oneof(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 0, max: 0xfffffffe })),
  gid: fc.oneof(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 0, max: 0xfffffffe })),
};
const nodeArbitrary = fc.record({
  ...statArbitrary,
  parent: fc.nat(),
  name: nameArbitrary,
  kind: fc.constantFrom('file', 'directory', 'symlink'),
  data: fc.oneof(fc.uint8Array({ maxLength: 20 }), fc.uint8Array({ maxLength: 5000, minLength: 500 })),
  target: fc.nat(),
});

/** Any tree: nodes that hang themselves into a directory that is there, unless their name is taken. */
const treeArbitrary = fc.array(nodeArbitrary, { maxLength: 30 }).map((nodes) => {
  const entries: ArchiveEntry[] = [];
  const directories = [''];
  const taken = new Set<string>();
  for (const { parent, name, kind, data, target, ...stat } of nodes) {
    const path = `${directories[parent % directories.length]}${name}`;
    if (taken.has(path) || Buffer.byteLength(path) > 3000 || path.split('/').length > 60) continue;
    taken.add(path);
    if (kind === 'directory') {
      entries.push({ kind, path, ...stat });
      directories.push(`${path}/`);
    } else if (kind === 'file') {
      entries.push({ kind, path, ...stat, data: Buffer.from(data) });
    } else {
      const up = '../'.repeat(path.split('/').length - 1);
      const files = entries.filter((entry) => entry.kind === 'file');
      const there = files[target % (files.length || 1)]?.path ?? 'nowhere';
      entries.push({ kind: 'symlink', path, ...stat, target: up + there });
    }
  }
  return entries;
});

const byPath = (entries: readonly ArchiveEntry[]) =>
  [...entries].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));

test('any tree, written, sealed, unsealed and read, is the same tree', async () => {
  await fc.assert(
    fc.asyncProperty(treeArbitrary, async (entries) => {
      const bundle = await sealTest(await writeArchive(entries));
      const { plaintext } = await unseal(bundle, { keyring });
      assert.deepEqual(byPath(await readArchive(plaintext, LIMITS)), byPath(entries));
    }),
    { numRuns: 150 },
  );
});

const ANSWER = /^(accepted|bundle-[a-z-]+|archive-[a-z-]+|data-key-refused)$/;

async function survives(bytes: Buffer): Promise<void> {
  assert.match(await outcome(() => readHeader(bytes)), ANSWER);
  assert.match(await outcome(() => unseal(bytes, { keyring, plaintextBytesMax: 1e6 })), ANSWER);
  assert.match(await outcome(() => readArchive(bytes, LIMITS)), ANSWER);
  assert.match(await outcome(() => listArchive(bytes)), ANSWER);
  assert.equal(await outcome(() => lintArchive(bytes, LIMITS)), 'accepted');
}

test('any bytes are refused with an error of ours', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(fc.constant([]), fc.constant([2, 5, 0x78]), fc.constant([1, 0x80]), fc.constant([0x1f, 0x8b])),
      fc.uint8Array({ maxLength: 3000 }),
      (start, rest) => survives(Buffer.from([...start, ...rest])),
    ),
    { numRuns: 1000 },
  );
});

/** Cuts, insertions and overwritten numbers: what bit flips alone do not reach. */
const mutationArbitrary = fc.array(
  fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    what: fc.constantFrom('flip', 'cut', 'insert', 'u8', 'u16', 'u32', 'digits'),
    value: fc.oneof(fc.nat(), fc.constantFrom(0, 1, 0x7f, 0xff, 0xffff, 0x7fffffff, 0xffffffff)),
  }),
  { minLength: 1, maxLength: 4 },
);
type Mutation = (typeof mutationArbitrary extends fc.Arbitrary<infer T> ? T : never)[number];

function mutate(bytes: Buffer, mutations: readonly Mutation[]): Buffer {
  let mutated = Buffer.from(bytes);
  for (const { at, what, value } of mutations) {
    const offset = Math.min(Math.floor(at * mutated.length), mutated.length - 4);
    if (offset < 0) return mutated;
    const before = mutated.subarray(0, offset);
    if (what === 'cut') mutated = Buffer.concat([before, mutated.subarray(offset + 1 + (value % 600))]);
    else if (what === 'insert') {
      mutated = Buffer.concat([before, Buffer.alloc(1 + (value % 600), value), mutated.subarray(offset)]);
    } else if (what === 'flip') mutated.writeUInt8(mutated.readUInt8(offset) ^ (1 << (value % 8)), offset);
    else if (what === 'u8') mutated.writeUInt8(value & 0xff, offset);
    else if (what === 'u16') mutated.writeUInt16BE(value & 0xffff, offset);
    else if (what === 'u32') mutated.writeUInt32BE(value >>> 0, offset);
    else mutated.write(String(value % 10_000), offset);
  }
  return mutated;
}

test('a bundle that was changed anyhow is refused with an error of ours', async () => {
  const bundle = await sealTest(Buffer.alloc(9000, 'abc'), { context: { team: 'infra' } });
  await fc.assert(
    fc.asyncProperty(mutationArbitrary, async (mutations) => {
      const mutated = mutate(bundle, mutations);
      if (mutated.equals(bundle)) return;
      assert.match(await outcome(() => readHeader(mutated)), ANSWER);
      const answer = await outcome(() => unseal(mutated, { keyring }));
      assert.match(answer, ANSWER);
      assert.notEqual(answer, 'accepted');
    }),
    { numRuns: 1500 },
  );
});

/** With the checksum made right again, so that more than the checksum is tested. */
function withChecksums(tar: Buffer): Buffer {
  for (let at = 0; at + 512 <= tar.length; at += 512) {
    const header = tar.subarray(at, at + 512);
    if (header.toString('latin1', 257, 262) !== 'ustar') continue;
    header.fill(0x20, 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  }
  return tar;
}

test('a tar that was changed anyhow is read, or refused with an error of ours', async () => {
  const tar = tarOf(
    member({ name: './', typeflag: '5' }),
    pax({ path: 'n'.repeat(200), uid: '300000' }),
    member({ name: 'x', data: 'contents' }),
    member({ name: 'long', typeflag: 'L', data: 'l'.repeat(300) }),
    member({ name: 'y', typeflag: '2', linkname: 'n' }),
    pax({ comment: 'global' }, 'g'),
    member({ name: 'z', data: Buffer.alloc(1000, 7) }),
  );
  await fc.assert(
    fc.asyncProperty(mutationArbitrary, fc.boolean(), async (mutations, repaired) => {
      const mutated = mutate(tar, mutations);
      if (repaired) withChecksums(mutated);
      assert.match(await outcome(() => readArchive(mutated, LIMITS)), ANSWER);
      assert.match(await outcome(() => listArchive(mutated)), ANSWER);
      assert.equal(await outcome(() => lintArchive(mutated, LIMITS)), 'accepted');
    }),
    { numRuns: 2000 },
  );
});

test('what headers claim costs no memory', async () => {
  const bundle = await sealTest(Buffer.from('x'));
  const { headerBytes } = readHeader(bundle);
  const claims: [string, Buffer][] = [];
  const patched = (what: string, at: number, value: number) => {
    const bytes = Buffer.from(bundle);
    bytes.writeUInt32BE(value, at);
    claims.push([what, bytes]);
  };
  patched('frame length', headerBytes - 52, 0xffffffff);
  patched('final frame length', headerBytes + 20, 0xffffffff);
  patched('context length', 35, 0xffffffff);
  patched('data key count', 37 + bundle.readUInt16BE(35), 0xffffffff);
  const size = Buffer.from([0x80, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]);
  for (const typeflag of ['0', '5', 'x', 'g', 'L', 'K', '1', '2']) {
    claims.push([`size of type ${typeflag}`, tarOf(member({ name: 'a', typeflag, size }))]);
    claims.push([`3 MiB of type ${typeflag}`, tarOf(member({ name: 'a', typeflag, size: '14000000' }))]);
  }
  claims.push(['pax size', tarOf(pax({ size: '99999999999' }), member({ name: 'a' }))]);
  // Positive control: what was measured is what an allocation by claim would show.
  const before = process.memoryUsage();
  const control = Buffer.alloc(64 * 1024 * 1024, 1);
  assert.ok(process.memoryUsage().arrayBuffers - before.arrayBuffers > 60_000_000, `${control.length}`);
  for (const [what, bytes] of claims) {
    const start = process.memoryUsage();
    const started = performance.now();
    await survives(bytes);
    const end = process.memoryUsage();
    assert.ok(
      end.arrayBuffers - start.arrayBuffers < 8_000_000,
      `${what}: ${end.arrayBuffers - start.arrayBuffers}`,
    );
    assert.ok(end.rss - start.rss < 64_000_000, `${what}: ${end.rss - start.rss} rss`);
    assert.ok(performance.now() - started < 2000, what);
  }
});
