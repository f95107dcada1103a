import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Vfs } from '../../../../src/vfs/vfs.ts';
import { directory, file, Lineage, nodeAt } from '../../../support/entries.ts';
import {
  ALIAS_BASE,
  decodeAttributes,
  decodeDirents,
  decodeEntry,
  encodeRequest,
  FakeKernel,
  fields,
  names,
  OP,
  readBody,
  STAGING,
  TOKEN,
} from '../../../support/fake-kernel.ts';

const USER = { uid: 1000 };

function changed() {
  const lineage = new Lineage();
  const first = lineage.next([
    file('f', 'one'),
    file('same'),
    file('removed'),
    directory('gone'),
    file('gone/x'),
    directory('d'),
    file('d/f', 'a'),
  ]);
  const second = lineage.next([file('f', 'two'), file('same'), directory('d'), file('d/f', 'b')]);
  const vfs = new Vfs(second);
  vfs.setGenerations(second, [first]);
  return {
    kernel: new FakeKernel(vfs),
    ino: (path: string) => second.ino(nodeAt(second, path)),
    old: (path: string) => first.ino(nodeAt(first, path)),
  };
}

type Kernel = ReturnType<typeof changed>['kernel'];
const rename = (kernel: Kernel, from: number, old: string, to: number, name: string, caller = {}) =>
  kernel.ask(OP.RENAME, from, Buffer.concat([fields([64, to]), names(old, name)]), caller).error;

test('the staging directory is there for uid 0, under its name, and never remembered', () => {
  const { kernel } = changed();
  const entry = decodeEntry(kernel.lookup(1, TOKEN).body);
  assert.deepEqual([entry.nodeid, entry.entryValid, entry.attrValid], [STAGING, 0, 0]);
  assert.equal(entry.attributes.mode, 0o040700);
  const { body } = kernel.getattr(STAGING);
  assert.equal(body.readBigUInt64LE(0), 0n);
  assert.equal(decodeAttributes(body, 16).mode, 0o040700);
});

test('for others, under another name or in another directory there is no staging directory', () => {
  const { kernel, ino } = changed();
  assert.equal(kernel.lookup(1, TOKEN, USER).error, 'ENOENT', 'no negative entry that root would meet');
  for (const name of [TOKEN.toUpperCase(), TOKEN.slice(1), `${TOKEN}0`, TOKEN.replace('f', 'e')]) {
    assert.equal(decodeEntry(kernel.lookup(1, name).body).nodeid, 0, name);
  }
  assert.equal(decodeEntry(kernel.lookup(ino('d'), TOKEN).body).nodeid, 0);
});

test('without a token there is no staging directory', () => {
  const { kernel } = changed();
  kernel.staging.token = new Uint8Array(16);
  assert.equal(decodeEntry(kernel.lookup(1, '0'.repeat(32)).body).nodeid, 0);
});

test('the staging directory is in no listing and can be neither listed nor opened', () => {
  const { kernel } = changed();
  const { body } = kernel.ask(OP.READDIR, 1, readBody(2, 0, 4096));
  assert.ok(!decodeDirents(body, false).some(({ name }) => name === TOKEN));
  for (let i = 0; i < 3; i++) {
    assert.equal(kernel.ask(OP.OPENDIR, STAGING, fields([32, 0], [32, 0])).error, 'EACCES');
    assert.equal(kernel.open(STAGING).error, 'EACCES');
  }
});

test('in it stands an alias of every live inode, with its attributes, never remembered', () => {
  const { kernel, ino } = changed();
  for (const path of ['f', 'd', 'd/f']) {
    const entry = decodeEntry(kernel.lookup(STAGING, `${ino(path)}`).body);
    assert.deepEqual([entry.nodeid, entry.entryValid, entry.attrValid], [ALIAS_BASE + ino(path), 0, 0]);
    assert.equal(entry.attributes.ino, ino(path));
    const { body } = kernel.getattr(ALIAS_BASE + ino(path));
    assert.equal(body.readBigUInt64LE(0), 0n);
    assert.deepEqual(decodeAttributes(body, 16), entry.attributes);
  }
  assert.equal(kernel.read(ALIAS_BASE + ino('f'), 0, 0, 10).body.toString(), 'two');
});

test('in it stands nothing else', () => {
  const { kernel, ino, old } = changed();
  const f = ino('f');
  for (const name of [
    `0${f}`,
    `${f} `,
    `+${f}`,
    `${f}.`,
    '1',
    '0',
    '',
    `${old('f')}`,
    `${2 ** 52 + f}`,
    '99999',
  ]) {
    if (name === '') continue;
    assert.equal(kernel.lookup(STAGING, name).error, 'ENOENT', name);
  }
  assert.equal(kernel.lookup(STAGING, `${f}`, USER).error, 'ENOENT');
  assert.equal(kernel.lookup(ALIAS_BASE + ino('d'), 'f').error, 'ESTALE');
});

test('an alias may be renamed onto the name where its inode stands, as often as it comes', () => {
  const { kernel, ino } = changed();
  for (let i = 0; i < 2; i++) {
    assert.equal(rename(kernel, STAGING, `${ino('f')}`, 1, 'f'), 'OK');
    assert.equal(rename(kernel, STAGING, `${ino('d/f')}`, ino('d'), 'f'), 'OK');
    assert.equal(rename(kernel, STAGING, `${ino('d')}`, 1, 'd'), 'OK');
  }
});

test('every other rename is EROFS', () => {
  const { kernel, ino, old } = changed();
  const f = `${ino('f')}`;
  const refused = [
    ['another user', STAGING, f, 1, 'f', USER],
    ['not from the staging directory', 1, f, 1, 'f', {}],
    ['from an alias of a directory', ALIAS_BASE + ino('d'), f, 1, 'f', {}],
    ['onto another name', STAGING, f, 1, 'g', {}],
    ['onto the name of another inode', STAGING, f, 1, 'same', {}],
    ['into another directory', STAGING, f, ino('d'), 'f', {}],
    ['into the staging directory', STAGING, f, STAGING, f, {}],
    ['of the superseded inode', STAGING, `${old('f')}`, 1, 'f', {}],
    ['of no number', STAGING, 'f', 1, 'f', {}],
    ['of a number in another form', STAGING, `0${f}`, 1, 'f', {}],
    ['of a file by its own name', 1, 'same', 1, 'same', {}],
    ['into what is no directory', STAGING, f, ino('f'), 'f', {}],
    ['into a directory that is gone', STAGING, f, old('gone'), 'f', {}],
    ['of "." ', STAGING, '1', 1, '.', {}],
  ] as const;
  for (const [what, from, name, to, newName, caller] of refused) {
    assert.equal(rename(kernel, from, name, to, newName, caller), 'EROFS', what);
  }
});

test('RENAME2 is as RENAME, and EROFS with any flag', () => {
  const { kernel, ino } = changed();
  const rename2 = (flags: number, name = 'f') =>
    kernel.ask(
      OP.RENAME2,
      STAGING,
      Buffer.concat([fields([64, 1], [32, flags], [32, 0]), names(`${ino('f')}`, name)]),
    ).error;
  assert.equal(rename2(0), 'OK');
  for (const flags of [1, 2, 4]) assert.equal(rename2(flags), 'EROFS');
  assert.equal(rename2(0, 'same'), 'EROFS');
});

test('UNLINK and RMDIR by uid 0 are accepted exactly where nothing of that kind is', () => {
  const { kernel, old, ino } = changed();
  const remove = (opcode: number, parent: number, name: string, caller = {}) =>
    kernel.ask(opcode, parent, names(name), caller).error;
  for (const opcode of [OP.UNLINK, OP.RMDIR]) {
    for (let i = 0; i < 2; i++) {
      assert.equal(remove(opcode, 1, 'removed'), 'OK');
      assert.equal(remove(opcode, old('gone'), 'x'), 'OK', 'in a directory that is gone');
      assert.equal(remove(opcode, 1, 'gone'), 'OK');
    }
    assert.equal(remove(opcode, 1, 'removed', USER), 'EROFS');
    // A file may stand now where a directory was, and the reverse: then the old kind is gone.
    assert.equal(remove(opcode, 1, 'f'), opcode === OP.UNLINK ? 'EROFS' : 'OK');
    assert.equal(remove(opcode, 1, 'd'), opcode === OP.UNLINK ? 'OK' : 'EROFS');
    assert.equal(remove(opcode, ino('f'), 'x'), 'EROFS');
    assert.equal(remove(opcode, STAGING, `${ino('f')}`), 'EROFS');
    assert.equal(remove(opcode, 1, '..'), 'EROFS');
    assert.equal(remove(opcode, 1, 'x'.repeat(256)), 'EROFS');
  }
});

test('a rename that lacks a name is EINVAL', () => {
  const { kernel, ino } = changed();
  const body = Buffer.concat([fields([64, 1]), names(`${ino('f')}`)]);
  assert.equal(kernel.ask(OP.RENAME, STAGING, body).error, 'EINVAL');
  const unended = Buffer.concat([body, Buffer.from('f')]);
  assert.equal(kernel.raw(encodeRequest(OP.RENAME, STAGING, unended))?.readInt32LE(4), -22);
});

test('who looks at an alias is then told what its name stood for before, until the rename; nobody else is', () => {
  const { kernel, ino, old } = changed();
  const prober = { thread: 77 };
  const target = (caller = prober) => decodeEntry(kernel.lookup(1, 'f', caller).body);
  assert.equal(target().nodeid, ino('f'));
  assert.equal(kernel.lookup(STAGING, `${ino('f')}`, prober).error, 'OK');
  for (let i = 0; i < 2; i++) {
    const { nodeid, entryValid, attributes } = target();
    assert.deepEqual([nodeid, entryValid, attributes.ino], [old('f'), 0, old('f')]);
  }
  assert.equal(target({ thread: 78 }).nodeid, ino('f'));
  assert.equal(decodeEntry(kernel.lookup(1, 'same', prober).body).nodeid, ino('same'));
  assert.equal(rename(kernel, STAGING, `${ino('f')}`, 1, 'f', prober), 'OK');
  assert.equal(target().nodeid, ino('f'));
});
