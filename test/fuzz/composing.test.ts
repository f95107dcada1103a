/**
 * Images of parts as a subverted unsealer could write them: composing refuses them and names the directory that they are for,
 * or what comes of them stays in that directory, and the other part is what it was.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MountError } from '../../src/errors.ts';
import {
  HEADER,
  HEADER_BYTES,
  INO_END,
  NODE,
  NODE_BYTES,
  UINT32,
  WORD_BYTES,
} from '../../src/generation/format.ts';
import { Generation, inMemory } from '../../src/generation/generation.ts';
import { composed } from '../support/composed.ts';
import { contentOf, directory, file, imageOf, Lineage, nodeAt, symlink } from '../support/entries.ts';

const LIMITS = { filesMax: 10, bytesMax: 1 << 20 };

const line = new Lineage();
line.next(
  [
    directory('d'),
    file('d/a', 'some bytes'),
    file('d/b', 'others'),
    symlink('d/l', '../zz'),
    file('zz', 'z'),
  ],
  { preserve: true },
);
const PLAN = line.plan ?? assert.fail();
const GOOD = imageOf(PLAN);
const other = new Lineage();
other.next([file('secret', 'of the other part')], { preserve: true });
const OTHER = imageOf(other.plan ?? assert.fail());
/** Nodes of GOOD: the root, d, zz, d/a, d/b, d/l. */
const [D, Z, A, B, L] = [1, 2, 3, 4, 5];
const STRINGS = HEADER_BYTES + 6 * (NODE_BYTES + WORD_BYTES);

const both = (image: Uint8Array) =>
  composed([
    { directory: 'tls', image, ...LIMITS },
    { directory: 'app', image: OTHER, ...LIMITS },
  ]);

/** Why it is refused; undefined where all that came of it is in its directory. */
function outcome(image: Uint8Array): string | undefined {
  let bytes: Buffer;
  try {
    bytes = both(image);
  } catch (error) {
    assert.ok(error instanceof MountError, String((error as Error).stack));
    assert.equal(error.code, 'composer-failed');
    assert.match(error.message, /^cannot compose "tls": its image /);
    assert.match(error.hint ?? '', /unsealer/);
    return error.message;
  }
  const generation = Generation.open(bytes, inMemory(bytes));
  assert.equal(contentOf(generation, nodeAt(generation, 'app/secret')).toString(), 'of the other part');
  for (let node = 1; node < generation.nodeCount; node++) {
    assert.match(generation.path(node), /^(tls(\/[^\0]+)?|app|app\/secret)$/);
    assert.ok(!generation.path(node).split('/').includes('..'));
  }
  return undefined;
}

function word(image: Buffer, at: number, value: number): void {
  image.writeUInt32LE(value >>> 0, at * WORD_BYTES);
}
function long(image: Buffer, at: number, value: number): void {
  word(image, at, value % UINT32);
  word(image, at + 1, Math.floor(value / UINT32));
}
const ofNode = (node: number, field: number) => (HEADER_BYTES + NODE_BYTES * node) / WORD_BYTES + field;
const contentBytes = GOOD.readUInt32LE(HEADER.contentBytes * WORD_BYTES);
const start = (node: number) => GOOD.readUInt32LE(ofNode(node, NODE.at) * WORD_BYTES);

const HOSTILE: readonly [string, RegExp, (image: Buffer) => Uint8Array | undefined][] = [
  ['nothing at all', /invalid magic/, () => Buffer.alloc(0)],
  ['zeros', /invalid magic/, () => Buffer.alloc(100_000)],
  ['a header without the rest', /invalid size/, (image) => image.subarray(0, HEADER_BYTES)],
  ['metadata that is cut off', /invalid size/, (image) => image.subarray(0, PLAN.metadata.length - 1)],
  ['contents that are cut off', /invalid size/, (image) => image.subarray(0, image.length - 1)],
  ['no contents', /invalid size/, () => PLAN.metadata],
  ['the next version of the format', /unknown version/, (image) => void word(image, HEADER.version, 2)],
  ['no node', /number of nodes/, (image) => void word(image, HEADER.nodes, 0)],
  ['four billion nodes', /number of nodes/, (image) => void word(image, HEADER.nodes, 0xffff_ffff)],
  ['a node more than there are', /invalid/, (image) => void word(image, HEADER.nodes, 7)],
  [
    'strings of four gigabytes',
    /size of metadata/,
    (image) => void word(image, HEADER.stringBytes, 0xffff_ffff),
  ],
  ['strings of a gigabyte', /invalid size/, (image) => void word(image, HEADER.stringBytes, 900 << 20)],
  [
    'contents of 2^60 bytes',
    /invalid size of contents/,
    (image) => void long(image, HEADER.contentBytes, 2 ** 60),
  ],
  [
    'a file of 2^50 bytes, in agreement with the sum',
    /invalid size/,
    (image) => {
      long(image, ofNode(B, NODE.size), 2 ** 50);
      long(image, HEADER.contentBytes, contentBytes - 6 + 2 ** 50);
    },
  ],
  [
    'two files with the same contents',
    /place of contents/,
    (image) => void long(image, ofNode(B, NODE.at), start(A)),
  ],
  [
    'contents that overlap by a byte',
    /place of contents/,
    (image) => void long(image, ofNode(B, NODE.at), start(B) - 1),
  ],
  ['contents in the metadata', /place of contents/, (image) => void long(image, ofNode(Z, NODE.at), 0)],
  [
    'contents before the image',
    /place of contents/,
    (image) => void long(image, ofNode(Z, NODE.at), 2 ** 64 - 4096),
  ],
  [
    'a directory that is its own child',
    /invalid (children|parent)/,
    (image) => void word(image, ofNode(D, NODE.at), D),
  ],
  [
    'more children than nodes',
    /children/,
    (image) => void word(image, ofNode(D, NODE.children), 0x7fff_ffff),
  ],
  ['a name that is ..', /name/, (image) => rename(image, L, '..')],
  ['a name with a slash', /name/, (image) => rename(image, Z, 'a/')],
  ['a name that is no UTF-8', /strings/, (image) => void image.writeUInt8(0xff, STRINGS)],
  [
    'a name that overlaps another',
    /order of names/,
    (image) => void word(image, ofNode(A, NODE.nameOffset), 0),
  ],
  ['an absolute target', /target/, (image) => void image.write('/etc', image.indexOf('../zz'))],
  ['a target that leads out', /target/, (image) => void image.write('../..', image.indexOf('../zz'))],
  ['a device', /mode/, (image) => void word(image, ofNode(Z, NODE.mode), 0o060600)],
  ['the set-user-ID bit', /mode/, (image) => void word(image, ofNode(Z, NODE.mode), 0o104755)],
  [
    'inode numbers from the end of time',
    /inode number/,
    (image) => void long(image, HEADER.nextIno, INO_END + 1),
  ],
  [
    'two nodes of one inode',
    /index/,
    (image) => void word(image, ofNode(Z, NODE.ino), image.readUInt32LE(ofNode(A, NODE.ino) * WORD_BYTES)),
  ],
];

/** In place: of as many bytes as the name and what follows it have. */
function rename(image: Buffer, node: number, name: string): undefined {
  const [offset, length] = [NODE.nameOffset, NODE.nameBytes].map((field) =>
    image.readUInt32LE(ofNode(node, field) * WORD_BYTES),
  );
  image.write(name, STRINGS + (offset ?? 0));
  if (length === name.length) return;
  // What is longer by a byte takes it from the target behind it.
  word(image, ofNode(node, NODE.nameBytes), name.length);
  word(image, ofNode(node, NODE.at), (offset ?? 0) + name.length);
  long(image, ofNode(node, NODE.size), '../zz'.length - 1);
}

for (const [what, why, make] of HOSTILE) {
  test(`an image with ${what} is refused, and says for which directory it is`, () => {
    const image = Buffer.from(GOOD);
    const made = make(image) ?? image;
    assert.match(outcome(made) ?? 'it was taken', why);
  });
}

test('an image that is whole is taken, and bytes behind it are not', () => {
  assert.equal(outcome(GOOD), undefined);
  const more = Buffer.concat([GOOD, Buffer.from('more than it says')]);
  assert.equal(outcome(more), undefined);
  assert.equal(both(more).includes('more than it says'), false);
});

test('an image that is larger than its part may be is refused, however well it is made', () => {
  for (const [limits, observed] of [
    [{ filesMax: 4, bytesMax: 100 }, /5 files and 17 bytes, want at most 4 and 100/],
    [{ filesMax: 5, bytesMax: 16 }, /5 files and 17 bytes, want at most 5 and 16/],
  ] as const) {
    assert.throws(() => composed([{ directory: 'tls', image: GOOD, ...limits }]), {
      code: 'composer-failed',
      message: observed,
    });
  }
});

test('whatever words are changed or bytes cut off, an image is refused or stays in its directory', () => {
  const words = PLAN.metadata.length >>> 2;
  const value = fc.oneof(
    fc.nat({ max: 20 }),
    fc.constantFrom(0xffff_ffff, 0x8000_0000, 4096, 0x2e2e2e2e, 0x2f2f2f2f),
    fc.nat(),
  );
  const changes = fc.array(fc.tuple(fc.nat({ max: words - 1 }), value), { maxLength: 4 });
  const length = fc.oneof(fc.constant(GOOD.length), fc.nat({ max: GOOD.length }));
  let taken = 0;
  fc.assert(
    fc.property(changes, length, (changed, bytes) => {
      const image = Buffer.from(GOOD);
      for (const [at, to] of changed) word(image, at, to);
      if (outcome(image.subarray(0, bytes)) === undefined) taken += 1;
    }),
    { numRuns: 1000 },
  );
  assert.ok(taken > 0, 'none was taken: the property says nothing of what comes of them');
});
