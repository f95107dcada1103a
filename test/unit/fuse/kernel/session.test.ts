import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COUNTER } from '../../../../src/fuse/kernel/context.ts';
import type { Generation } from '../../../../src/generation/generation.ts';
import { Vfs } from '../../../../src/vfs/vfs.ts';
import { directory, file, Lineage, nodeAt, symlink } from '../../../support/entries.ts';
import {
  decodeAttributes,
  decodeEntry,
  encodeRequest,
  FakeKernel,
  type FakeKernelOptions,
  FOR_EVER,
  fields,
  names,
  OP,
  readBody,
} from '../../../support/fake-kernel.ts';

const CERT = 'a certificate, more or less';
const KEEP_CACHE = 2;
const DIRECT_IO = 1;

/** A session over one generation, or over one that was superseded by a second. */
function served(options: FakeKernelOptions = {}) {
  const lineage = new Lineage();
  const first = lineage.next([
    file('cert.pem', CERT),
    file('old', 'first'),
    file('gone', 'was here'),
    directory('d'),
    file('d/deep', 'deep'),
    symlink('link', 'd/deep'),
    file('empty', ''),
  ]);
  const vfs = new Vfs(first);
  const kernel = new FakeKernel(vfs, options);
  const inoOf = (path: string, generation: Generation = vfs.live) => generation.ino(nodeAt(generation, path));
  const supersede = (linger = true) => {
    const second = lineage.next([
      file('cert.pem', CERT),
      file('old', 'second, longer'),
      file('new', 'added'),
      directory('d'),
      file('d/deep', 'deep'),
      symlink('link', 'd/deep'),
      file('empty', ''),
    ]);
    vfs.setGenerations(second, linger ? [first] : []);
    return second;
  };
  return { vfs, kernel, inoOf, supersede, first };
}

test('LOOKUP answers an entry that may be remembered until the content changes', () => {
  const { kernel, inoOf, first } = served();
  const { error, body } = kernel.lookup(1, 'cert.pem');
  assert.equal(error, 'OK');
  assert.equal(body.length, 128);
  const mtime = first.activatedSeconds;
  assert.deepEqual(decodeEntry(body), {
    nodeid: inoOf('cert.pem'),
    entryValid: FOR_EVER,
    attrValid: FOR_EVER,
    attributes: {
      ino: inoOf('cert.pem'),
      size: CERT.length,
      blocks: 1,
      times: [mtime, mtime, mtime],
      mode: 0o100600,
      nlink: 1,
      uid: 0,
      gid: 0,
    },
  });
});

test('LOOKUP of a name that is not there answers a negative entry that may be remembered', () => {
  const { kernel } = served();
  const { error, body } = kernel.lookup(1, 'nothing');
  assert.equal(error, 'OK');
  assert.equal(body.length, 128);
  assert.equal(body.readBigUInt64LE(0), 0n);
  assert.equal(body.readBigUInt64LE(16), BigInt(FOR_EVER));
});

test('LOOKUP goes down the tree, and finds "." and ".." for file handles', () => {
  const { kernel, inoOf } = served();
  assert.equal(decodeEntry(kernel.lookup(inoOf('d'), 'deep').body).nodeid, inoOf('d/deep'));
  assert.equal(decodeEntry(kernel.lookup(inoOf('d'), '.').body).nodeid, inoOf('d'));
  assert.equal(decodeEntry(kernel.lookup(inoOf('d/deep'), '.').body).nodeid, inoOf('d/deep'));
  assert.equal(decodeEntry(kernel.lookup(inoOf('d'), '..').body).nodeid, 1);
  assert.equal(kernel.lookup(99_999, '.').error, 'ENOENT');
});

test('LOOKUP names what is wrong with the directory or the name', () => {
  const { kernel, inoOf } = served();
  assert.equal(kernel.lookup(inoOf('cert.pem'), 'x').error, 'ENOTDIR');
  assert.equal(kernel.lookup(99_999, 'x').error, 'ESTALE');
  assert.equal(kernel.lookup(1, 'x'.repeat(256)).error, 'ENAMETOOLONG');
  assert.equal(kernel.lookup(1, 'x'.repeat(255)).error, 'OK');
});

test('GETATTR answers attributes that last, for a live inode', () => {
  const { kernel, inoOf } = served();
  const { error, body } = kernel.getattr(inoOf('old'));
  assert.equal(error, 'OK');
  assert.equal(body.length, 104);
  assert.equal(body.readBigUInt64LE(0), BigInt(FOR_EVER));
  assert.equal(body.readBigUInt64LE(8), 0n);
  const { ino, size, nlink, mode } = decodeAttributes(body, 16);
  assert.deepEqual([ino, size, nlink, mode], [inoOf('old'), 5, 1, 0o100600]);
  assert.equal(decodeAttributes(kernel.getattr(1).body, 16).mode & 0o170000, 0o040000);
  assert.equal(kernel.getattr(4242).error, 'ESTALE');
});

test('GETATTR of a superseded inode is of the old content, with no link, and not remembered', () => {
  const { kernel, inoOf, supersede, first } = served();
  supersede();
  const old = inoOf('old', first);
  const { body } = kernel.getattr(old);
  assert.equal(body.readBigUInt64LE(0), 0n);
  const { size, nlink } = decodeAttributes(body, 16);
  assert.deepEqual([size, nlink], [5, 0]);
});

test('GETATTR with a handle of other content answers for the inode, so that old readers keep their size', () => {
  const { kernel, inoOf, supersede, first } = served();
  supersede();
  const { body } = kernel.getattr(inoOf('old', first), inoOf('old'));
  assert.equal(decodeAttributes(body, 16).size, 5);
});

test('READLINK answers the target, and it is wiped', () => {
  const { kernel, inoOf } = served();
  const request = encodeRequest(OP.READLINK, inoOf('link'), Buffer.alloc(0));
  assert.equal(kernel.raw(request)?.toString('utf8', 16), 'd/deep');
  assert.equal(kernel.reply.toString('utf8', 16, 22), 'd/deep');
  kernel.session.wipe();
  assert.ok(kernel.reply.subarray(16).every((byte) => byte === 0));
  assert.equal(kernel.ask(OP.READLINK, inoOf('old')).error, 'EINVAL');
  assert.equal(kernel.ask(OP.READLINK, 4242).error, 'ESTALE');
});

test('OPEN answers the inode number as the handle, and that cached pages are good', () => {
  const { kernel, inoOf } = served();
  const { error, fh, flags } = kernel.open(inoOf('cert.pem'));
  assert.deepEqual([error, fh, flags], ['OK', inoOf('cert.pem'), KEEP_CACHE]);
  assert.equal(kernel.counters[3], 1);
});

test('OPEN with --cache none answers that reads must come here', () => {
  const { kernel, inoOf } = served({ policy: { cache: 'none' } });
  assert.equal(kernel.open(inoOf('cert.pem')).flags, DIRECT_IO);
});

test('OPEN for writing is EROFS, and of what is no file what open(2) says', () => {
  const { kernel, inoOf } = served();
  for (const flags of [1, 2, 3, 0o1000, 0o2001]) {
    assert.equal(kernel.open(inoOf('cert.pem'), flags).error, 'EROFS', `flags ${flags}`);
  }
  assert.equal(kernel.open(inoOf('d')).error, 'EISDIR');
  assert.equal(kernel.open(inoOf('link')).error, 'ELOOP');
  assert.equal(kernel.open(4242).error, 'ESTALE');
});

test('OPEN with --fast-open is ENOSYS for what is live, and READ without a handle goes by the inode', () => {
  const { kernel, inoOf, supersede, first } = served({ policy: { fastOpen: true } });
  assert.equal(kernel.open(inoOf('cert.pem')).error, 'ENOSYS');
  assert.equal(kernel.open(inoOf('cert.pem'), 1).error, 'EROFS');
  assert.equal(kernel.read(inoOf('cert.pem'), 0, 2, 4096).body.toString(), CERT.slice(2));
  supersede();
  assert.equal(kernel.read(inoOf('old', first), 0, 0, 4096).body.toString(), 'first');
  // The first OPEN of the connection may be of a superseded inode: that is not to open for ever by itself.
  assert.equal(kernel.open(inoOf('old', first)).error, 'ESTALE');
});

test('--fast-open means nothing with --cache none', () => {
  const { kernel, inoOf } = served({ policy: { fastOpen: true, cache: 'none' } });
  assert.equal(kernel.open(inoOf('cert.pem')).flags, DIRECT_IO);
});

test('READ answers what is there, up to the end of the file', () => {
  const { kernel, inoOf } = served();
  const ino = inoOf('cert.pem');
  const text = (offset: number | bigint, size: number) => kernel.read(ino, ino, offset, size).body.toString();
  assert.equal(text(0, 4096), CERT);
  assert.equal(text(2, 11), CERT.slice(2, 13));
  assert.equal(text(CERT.length - 1, 10), CERT.slice(-1));
  assert.equal(text(CERT.length, 10), '');
  assert.equal(text(2n ** 32n, 10), '');
  assert.equal(text(2n ** 63n - 1n, 10), '');
  assert.equal(text(0, 0), '');
  assert.equal(kernel.read(inoOf('empty'), inoOf('empty'), 0, 4096).body.length, 0);
  assert.equal(kernel.read(1, 1, 0, 10).error, 'EISDIR');
  assert.equal(kernel.read(ino, 4242, 0, 10).error, 'ESTALE');
});

test('READ by a handle of a superseded inode answers the old bytes, as long as they are kept', () => {
  const { kernel, inoOf, supersede, first, vfs } = served();
  const old = inoOf('old');
  const second = supersede();
  assert.equal(kernel.read(old, old, 0, 4096).body.toString(), 'first');
  vfs.setGenerations(second, []);
  assert.equal(kernel.read(old, old, 0, 4096).error, 'ESTALE');
  assert.equal(inoOf('old', first), old);
});

test('READ of an image that is gone is an error, never a short read', () => {
  const { kernel, inoOf, vfs } = served();
  const ino = inoOf('cert.pem');
  const { read } = vfs.live;
  vfs.live.read = (node, offset, length, target, at) =>
    Math.min(3, read.call(vfs.live, node, offset, length, target, at));
  assert.equal(kernel.read(ino, ino, 0, 4096).error, 'EIO');
  assert.equal(kernel.read(ino, ino, 0, 3).error, 'OK');
});

test('READ that met a retirement is repeated, so that no zeros of a wiped image are answered', () => {
  const lineage = new Lineage();
  const first = lineage.next([file('f', 'old')]);
  const second = lineage.next([file('f', 'new')]);
  const vfs = new Vfs(second);
  vfs.setGenerations(second, [first]);
  let pending = false;
  const generations = {
    changed: () => pending,
    closed: false,
    listed: () => undefined,
    sync: () => {
      pending = false;
      vfs.setGenerations(second, []);
    },
  };
  const kernel = new FakeKernel(vfs, { generations });
  const ino = first.ino(nodeAt(first, 'f'));
  assert.equal(kernel.read(ino, ino, 0, 10).body.toString(), 'old');
  const { read } = first;
  // Between the look at the control page and the copy, the supervisor retires and wipes.
  first.read = (...args) => {
    pending = true;
    const done = read.apply(first, args);
    args[3].fill(0, args[4], args[4] + done);
    return done;
  };
  assert.equal(kernel.read(ino, ino, 0, 10).error, 'ESTALE');
});

test('READ is answered also where the control page looks changed for ever', () => {
  const { kernel, inoOf } = served({
    generations: { changed: () => true, closed: false, listed: () => undefined, sync: () => undefined },
  });
  const ino = inoOf('cert.pem');
  assert.equal(kernel.read(ino, ino, 0, 100).body.toString(), CERT);
});

test('the reply buffer holds nothing of a file once the reply is written', () => {
  const { kernel, inoOf } = served();
  const ino = inoOf('cert.pem');
  const answered = kernel.raw(encodeRequest(OP.READ, ino, readBody(ino, 0, 4096)));
  assert.equal(answered?.toString('utf8', 16), CERT);
  assert.ok(kernel.reply.includes(CERT), 'it was there');
  kernel.session.wipe();
  assert.ok(kernel.reply.subarray(16).every((byte) => byte === 0));
});

test('the reply buffer is wiped also of what a failed read left in it', () => {
  const { kernel, inoOf, vfs } = served();
  vfs.live.read = (_node, _offset, _length, target, at) => {
    target.set(Buffer.from('half a secret'), at);
    throw new Error('a disk that ramfs has not');
  };
  assert.equal(kernel.raw(encodeRequest(OP.READ, inoOf('cert.pem'), readBody(0, 0, 13)))?.readInt32LE(4), -5);
  assert.ok(kernel.reply.includes('half a secret'));
  kernel.session.wipe();
  assert.ok(!kernel.reply.includes('half'));
  assert.match(kernel.logged.join(), /^bug Error at /);
  assert.doesNotMatch(kernel.logged.join(), /disk/);
});

test('RELEASE is answered, and says whose pages can go only where they may not stay', () => {
  const release = fields([64, 2], [32, 0], [32, 0], [64, 0]);
  const page = served().kernel;
  assert.equal(page.ask(OP.RELEASE, 7, release).error, 'OK');
  assert.deepEqual(page.dropped, []);
  const none = served({ policy: { cache: 'none' } }).kernel;
  assert.equal(none.ask(OP.RELEASE, 7, release).error, 'OK');
  assert.deepEqual(none.dropped, [7]);
});

test('LSEEK finds data everywhere and the only hole at the end', () => {
  const { kernel, inoOf } = served();
  const ino = inoOf('cert.pem');
  const seek = (offset: number, whence: number) => {
    const { error, body } = kernel.ask(OP.LSEEK, ino, fields([64, ino], [64, offset], [32, whence], [32, 0]));
    return error === 'OK' ? Number(body.readBigUInt64LE()) : error;
  };
  assert.equal(seek(5, 3), 5);
  assert.equal(seek(5, 4), CERT.length);
  assert.equal(seek(CERT.length, 3), 'ENXIO');
  assert.equal(seek(CERT.length, 4), 'ENXIO');
  assert.equal(seek(0, 2), 'EINVAL');
});

test('STATFS tells the size of the live generation, and that nothing is free', () => {
  const { kernel, vfs } = served();
  const { error, body } = kernel.ask(OP.STATFS, 1);
  assert.equal(error, 'OK');
  assert.equal(body.length, 80);
  const u64 = [0, 8, 16, 24, 32].map((at) => Number(body.readBigUInt64LE(at)));
  assert.deepEqual(u64, [1, 0, 0, vfs.live.nodeCount, 0]);
  assert.deepEqual([body.readUInt32LE(40), body.readUInt32LE(44), body.readUInt32LE(48)], [4096, 255, 4096]);
});

test('ACCESS goes by owner and mode', () => {
  const { kernel, inoOf } = served();
  const access = (mask: number, uid: number) =>
    kernel.ask(OP.ACCESS, inoOf('cert.pem'), fields([32, mask], [32, 0]), { uid, gid: uid }).error;
  assert.equal(access(4, 0), 'OK');
  assert.equal(access(4, 1000), 'EACCES');
  assert.equal(access(2, 0), 'EROFS');
});

test('what would change something is EROFS', () => {
  const { kernel } = served();
  const changing = ['SETATTR', 'SYMLINK', 'MKNOD', 'MKDIR', 'LINK', 'WRITE', 'CREATE', 'FALLOCATE'] as const;
  const more = ['COPY_FILE_RANGE', 'COPY_FILE_RANGE_64', 'TMPFILE'] as const;
  for (const name of [...changing, ...more]) {
    assert.equal(kernel.ask(OP[name], 1, Buffer.alloc(88)).error, 'EROFS', name);
  }
});

test('what is not supported is ENOSYS, which the kernel remembers, and is nothing to log', () => {
  const { kernel } = served();
  const unsupported = ['SETXATTR', 'GETXATTR', 'LISTXATTR', 'REMOVEXATTR', 'FLUSH', 'FSYNC'] as const;
  for (const name of [...unsupported, 'FSYNCDIR', 'SYNCFS', 'STATX'] as const) {
    assert.equal(kernel.ask(OP[name], 1, Buffer.alloc(24)).error, 'ENOSYS', name);
  }
  assert.deepEqual(kernel.logged, []);
});

test('FORGET, BATCH_FORGET and INTERRUPT are not answered', () => {
  const { kernel } = served();
  assert.equal(kernel.raw(encodeRequest(OP.FORGET, 2, fields([64, 1]))), undefined);
  const batch = fields([32, 1], [32, 0], [64, 2], [64, 1]);
  assert.equal(kernel.raw(encodeRequest(OP.BATCH_FORGET, 0, batch)), undefined);
  assert.equal(kernel.raw(encodeRequest(OP.INTERRUPT, 0, fields([64, 2]))), undefined);
  assert.deepEqual(kernel.logged, []);
});

test('DESTROY and RELEASEDIR are answered', () => {
  const { kernel } = served();
  assert.equal(kernel.ask(OP.DESTROY, 0).error, 'OK');
  assert.equal(kernel.ask(OP.RELEASEDIR, 1, fields([64, 1], [32, 0], [32, 0], [64, 0])).error, 'OK');
});

test('a request that is sent again is answered with the number that it came with', () => {
  const { kernel } = served();
  const unique = (1n << 63n) | 12n;
  const request = encodeRequest(OP.LOOKUP, 1, names('cert.pem'), { unique });
  assert.equal(kernel.raw(request)?.readBigUInt64LE(8), unique);
});

test('every request may be answered twice, with the same words', () => {
  const { kernel, inoOf, supersede, first } = served();
  const old = inoOf('old', first);
  supersede();
  const requests = [
    encodeRequest(OP.LOOKUP, 1, names('cert.pem')),
    encodeRequest(OP.OPEN, inoOf('cert.pem'), fields([32, 0], [32, 0])),
    // ESTALE the first time, served the second: but this is the same one, twice.
    encodeRequest(OP.OPEN, old, fields([32, 0], [32, 0])),
    encodeRequest(OP.OPEN, old, fields([32, 0], [32, 0])),
    encodeRequest(OP.READ, old, readBody(old, 0, 100)),
    encodeRequest(OP.UNLINK, 1, names('gone')),
    encodeRequest(OP.READDIR, 1, readBody(1, 0, 4096)),
  ];
  for (const request of requests) {
    const reply = kernel.raw(request);
    assert.deepEqual(kernel.raw(request), reply);
  }
});

test('the request on record is handled as if it had just been read', () => {
  const { kernel } = served();
  assert.equal(kernel.session.handleRecorded(), 0, 'nothing is on record');
  kernel.request.set(encodeRequest(OP.STATFS, 1, Buffer.alloc(0), { unique: 8n }));
  assert.equal(kernel.session.handleRecorded(), 16 + 80);
  kernel.request.set(encodeRequest(OP.FORGET, 1, fields([64, 1])));
  assert.equal(kernel.session.handleRecorded(), 0);
  kernel.request.fill(0xff, 0, 40);
  assert.equal(kernel.session.handleRecorded(), 0, 'longer than the buffer');
  assert.deepEqual(kernel.logged, []);
});

test('the request on record can be refused without being handled', () => {
  const { kernel, inoOf } = served();
  kernel.request.set(encodeRequest(OP.OPEN, inoOf('cert.pem'), fields([32, 0], [32, 0]), { unique: 6n }));
  assert.equal(kernel.session.refuse(5), 16);
  assert.deepEqual([kernel.reply.readInt32LE(4), kernel.reply.readBigUInt64LE(8)], [-5, 6n]);
  kernel.request.set(encodeRequest(OP.FORGET, 1, fields([64, 1])));
  assert.equal(kernel.session.refuse(5), 0);
});

test('requests are counted, beyond 2^32 too', () => {
  const { kernel } = served();
  kernel.counters[0] = 0xffffffff;
  kernel.counters[COUNTER.lookups] = 0xffffffff;
  kernel.lookup(1, 'cert.pem');
  kernel.lookup(1, 'cert.pem');
  assert.deepEqual([...kernel.counters], [1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
});
