import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import {
  type ArchiveEntry,
  lintArchive,
  listArchive,
  readArchive,
  writeArchive,
} from '../../../src/bundle/archive.ts';
import { DEPTH_MAX } from '../../../src/limits.ts';
import { refusal } from '../../support/bundles.ts';
import { member, pax, tarOf } from '../../support/tars.ts';

const LIMITS = { filesMax: 1000, bytesMax: 1_000_000 };
const read = (...members: Buffer[]) => readArchive(tarOf(...members), LIMITS);
const file = (name: string, data = '') => member({ name, data });
const dir = (name: string, mode = '0000755') => member({ name, typeflag: '5', mode });
const link = (name: string, linkname: string) => member({ name, typeflag: '2', linkname, mode: '0000777' });

const temporary = mkdtempSync(path.join(tmpdir(), 'secretsfs-tar-'));
after(() => rmSync(temporary, { recursive: true }));

const SAMPLE: ArchiveEntry[] = [
  { kind: 'directory', path: 'etc', mode: 0o750, uid: 3, gid: 4 },
  { kind: 'file', path: 'etc/empty', mode: 0, uid: 0, gid: 0, data: Buffer.alloc(0) },
  {
    kind: 'file',
    path: 'etc/key',
    mode: 0o400,
    uid: 300_000,
    gid: 4_000_000_000,
    data: Buffer.from('secret'),
  },
  { kind: 'symlink', path: 'etc/link', mode: 0o777, uid: 0, gid: 0, target: '../etc/key' },
  {
    kind: 'file',
    path: `${'d'.repeat(200)}/é`,
    mode: 0o644,
    uid: 0,
    gid: 0,
    data: Buffer.from('x'.repeat(600)),
  },
];
const SAMPLE_READ: ArchiveEntry[] = [
  ...SAMPLE.slice(0, 4),
  { kind: 'directory', path: 'd'.repeat(200), mode: 0o755, uid: 0, gid: 0 },
  ...SAMPLE.slice(4),
];

test('readArchive() returns what writeArchive() wrote, and implied directories', async () => {
  assert.deepEqual(await readArchive(await writeArchive(SAMPLE), LIMITS), SAMPLE_READ);
});

test('writeArchive() gives the same bytes for the same entries', async () => {
  assert.deepEqual(await writeArchive(SAMPLE), await writeArchive(SAMPLE));
});

test('an archive of nothing can be written and read', async () => {
  assert.deepEqual(await readArchive(await writeArchive([]), LIMITS), []);
});

test('GNU tar reads what writeArchive() wrote, and what it writes of a directory can be mounted', async () => {
  const tree = path.join(temporary, 'tree');
  mkdirSync(tree);
  execFileSync('tar', ['-C', tree, '-xf', '-', '--no-same-owner'], { input: await writeArchive(SAMPLE) });
  mkdirSync(path.join(tree, 'deep', 'n'.repeat(120)), { recursive: true });
  writeFileSync(path.join(tree, 'deep', 'n'.repeat(120), 'm'.repeat(90)), 'long');
  symlinkSync('t'.repeat(150), path.join(tree, 'deep', 'dangling'));
  for (const format of ['gnu', 'posix', 'ustar']) {
    const what = format === 'ustar' ? ['--exclude=dangling', '--exclude=ddd*', '--exclude=nnn*', '.'] : ['.'];
    const tar = execFileSync('tar', ['-C', tree, `--format=${format}`, '-cf', '-', ...what]);
    assert.deepEqual(await lintArchive(tar, LIMITS), [], format);
    const entries = await readArchive(tar, LIMITS);
    const found = new Map(entries.map((entry) => [entry.path, entry]));
    const key = found.get('etc/key');
    assert.ok(key?.kind === 'file' && Buffer.from(key.data).toString() === 'secret', format);
    assert.equal(found.has(`deep/${'n'.repeat(120)}/${'m'.repeat(90)}`), format !== 'ustar');
    assert.equal(found.get(''), undefined);
  }
});

test("a file's data are a view of the tar, so that wiping the tar wipes them", async () => {
  const tar = await writeArchive(SAMPLE);
  for (const entry of await readArchive(tar, LIMITS)) {
    if (entry.kind === 'file') assert.equal(entry.data.buffer, tar.buffer);
  }
  const [key] = (await readArchive(tar, LIMITS)).filter((entry) => entry.path === 'etc/key');
  tar.fill(0);
  assert.ok(key?.kind === 'file' && key.data.every((byte) => byte === 0));
});

test('names are normalised: a leading "./", the root itself, the slash after a directory', async () => {
  const entries = await read(dir('./'), dir('./a/'), file('./a/b'), dir('c'), file('d/e'), dir('d'));
  assert.deepEqual(
    entries.map((entry) => `${entry.kind} ${entry.path} ${entry.mode.toString(8)}`),
    ['directory a 755', 'file a/b 644', 'directory c 755', 'directory d 755', 'file d/e 644'],
  );
  assert.deepEqual(await read(dir('.')), []);
  assert.equal((await read(member({ name: 'old/', typeflag: '\0', magic: '' })))[0]?.kind, 'directory');
});

test('a directory that comes after what is in it has its own mode', async () => {
  const [directory] = await read(file('d/e'), dir('d', '0000700'));
  assert.equal(directory?.mode, 0o700);
});

const REFUSED: [string, Buffer[], RegExp][] = [
  ['an absolute path', [file('/etc/passwd')], /"\/etc\/passwd" is an absolute path/],
  ['a path with ".."', [file('a/../b')], /"a\/\.\.\/b" has a segment ".."/],
  ['a path that is ".."', [dir('..')], /segment ".."/],
  ['a path that begins with "../"', [file('../a')], /segment ".."/],
  ['a "./.." path', [file('./../a')], /segment ".."/],
  ['a "." segment', [file('a/./b')], /segment "\."/],
  ['a second "./"', [file('././b')], /segment "\."/],
  ['an empty segment', [file('a//b')], /empty segment/],
  ['a "." file', [file('.')], /segment "\."/],
  ['a ".//" path', [file('.//a')], /is an absolute path|empty segment/],
  ['an empty name', [file('')], /is an empty path/],
  ['a NUL in a name', [pax({ path: 'a\0b' }), file('a')], /"a\\u0000b" has a NUL/],
  ['a name that is not UTF-8', [member({ name: Buffer.from([0x61, 0xff]) })], /not UTF-8/],
  ['a name of U+FFFD', [pax({ path: '\ufffd' }), file('a')], /not UTF-8/],
  ['a name of 256 bytes', [pax({ path: 'n'.repeat(256) }), file('a')], /name of 256 bytes, want at most 255/],
  ['a name of 256 bytes in 128 letters', [pax({ path: 'é'.repeat(128) }), file('a')], /name of 256 bytes/],
  ['a long path', [pax({ path: `${'n'.repeat(100)}/`.repeat(42) }), dir('a')], /path of 4241 bytes/],
  [
    'a deep path',
    [pax({ path: `${'d/'.repeat(DEPTH_MAX)}f` }), file('a')],
    /65 levels deep, want at most 64/,
  ],
  ['a duplicate', [file('a'), file('b'), file('./a')], /"\.\/a" is there twice/],
  ['a duplicate directory', [dir('a'), dir('a/')], /"a" is there twice/],
  ['a file where a directory is', [dir('a'), file('a')], /"a" is there twice/],
  ['a file where others are in', [file('a/b'), file('a')], /"a" is a file, but other members lie in it/],
  ['a path through a file', [file('a'), file('a/b')], /"a\/b" leads through "a", which is a file/],
  [
    'a path through a symlink',
    [dir('d'), link('a', 'd'), file('a/b')],
    /leads through "a", which is a symlink/,
  ],
  ['a symlink where others are in', [file('a/b'), link('a', 'c')], /"a" is a symlink, but other members/],
  [
    'a hard link',
    [file('a'), member({ name: 'b', typeflag: '1', linkname: 'a' })],
    /"b" is a hard link to "a"/,
  ],
  ['a character device', [member({ name: 'b', typeflag: '3' })], /"b" is a character device/],
  ['a block device', [member({ name: 'b', typeflag: '4' })], /"b" is a block device/],
  ['a fifo', [member({ name: 'b', typeflag: '6' })], /"b" is a fifo/],
  ['a contiguous file', [member({ name: 'b', typeflag: '7' })], /"b" is a contiguous file/],
  ['a sparse file, old GNU', [member({ name: 'b', typeflag: 'S' })], /"b" is a sparse file/],
  ['a sparse file, pax', [pax({ 'GNU.sparse.major': '1' }), file('b')], /"b" is a sparse file/],
  ['a multi-volume part', [member({ name: 'b', typeflag: 'M' })], /unknown type "M"/],
  ['a volume label', [member({ name: 'b', typeflag: 'V' })], /unknown type "V"/],
  ['a setuid file', [member({ name: 'b', mode: '0004755' })], /"b" has mode 4755: setuid/],
  ['a setgid directory', [dir('d', '0002755')], /"d" has mode 2755/],
  ['a sticky directory', [dir('d', '0001777')], /"d" has mode 1777/],
  [
    'an absolute symlink',
    [link('a', '/etc/passwd')],
    /"a" is a symlink to "\/etc\/passwd", which is absolute/,
  ],
  ['a symlink out of the tree', [link('a', '../x')], /"a" is a symlink to "\.\.\/x", which leads out/],
  ['a symlink out and in again', [dir('d'), link('d/a', '../../d/a')], /leads out/],
  ['a symlink to nowhere, out of the tree', [link('a', 'no/such/../../../x')], /leads out/],
  [
    'a symlink out through another',
    [dir('d/e'), link('l', 'd/e'), link('d/m', '../l/../../../x')],
    /"d\/m".*leads out/,
  ],
  [
    'a symlink out through a later one',
    [link('m', 'l/../../x'), dir('d/e'), link('l', 'd')],
    /"m".*leads out/,
  ],
  ['a symlink to itself', [link('a', 'a')], /leads back to itself/],
  ['a loop of symlinks', [link('a', 'b'), link('b', 'c/x'), link('c', 'a')], /leads back to itself/],
  [
    'a chain of 41 symlinks',
    Array.from({ length: 41 }, (_, i) => link(`l${i}`, `l${i + 1}`)),
    /over 40 symlinks/,
  ],
  ['a symlink without a target', [link('a', '')], /symlink without a target/],
  ['a symlink with a NUL', [pax({ linkpath: 'a\0' }), link('a', 'a')], /symlink with a NUL in its target/],
  [
    'a symlink that is not UTF-8',
    [pax({ linkpath: Buffer.from([0xff]) }), link('a', 'a')],
    /not UTF-8 in its target/,
  ],
];
for (const [what, members, message] of REFUSED) {
  test(`readArchive() refuses ${what}`, async () => {
    await assert.rejects(read(...members), refusal('archive-refused', message));
    const lines = await lintArchive(tarOf(...members), LIMITS);
    assert.match(lines.join('\n'), message);
    assert.match(lines[0] ?? '', /^"/);
  });
}

test('readArchive() accepts symlinks that stay inside, also to where nothing is', async () => {
  const entries = await read(
    dir('d/e'),
    link('d/e/up', '../../d/./e//f'),
    link('d/e/root', '../..'),
    link('via', 'd/e/root/d/e/root'),
    link('dangling', 'no/such/../thing'),
    file('f'),
    link('under-file', 'f/x'),
    ...Array.from({ length: 39 }, (_, i) => link(`l${i}`, `l${i + 1}`)),
  );
  assert.equal(entries.filter((entry) => entry.kind === 'symlink').length, 44);
});

test('names may hold what a shell dislikes; messages escape it', async () => {
  const [entry] = await read(file('a\nb\u001b[31m'));
  assert.equal(entry?.path, 'a\nb\u001b[31m');
  await assert.rejects(read(file('a\n/../b')), refusal('archive-refused', /"a\\n\/\.\.\/b"/));
});

test('a directory whose name ends in a newline loses the slash after it, too', async () => {
  assert.deepEqual(
    (await read(dir('\n/'), dir('a\n/'))).map((entry) => entry.path),
    ['\n', 'a\n'],
  );
});

test('readArchive() holds to its limits', async () => {
  const three = tarOf(file('a/b', '12345'), file('c', '67890'));
  const within = (filesMax: number, bytesMax: number) => readArchive(three, { filesMax, bytesMax });
  assert.equal((await within(3, 10)).length, 3);
  await assert.rejects(within(2, 10), refusal('archive-too-large', /over 2 files and directories/));
  await assert.rejects(within(3, 9), refusal('archive-too-large', /more than 9 bytes/));
});

const huge = (byte: number) => Buffer.from([0x80, ...Array.from({ length: 10 }, () => byte), 0]);
const INVALID: [string, Buffer, RegExp][] = [
  ['nothing', Buffer.alloc(0), /it is empty/],
  ['text', Buffer.from('x'.repeat(2000)), /it is not a tar/],
  ['gzip data', Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0]), Buffer.alloc(2000, 7)]), /it is gzip data/],
  ['a block too short', Buffer.alloc(511), /cut short|not a tar/],
  ['a tar without its marker', file('a', 'x'), /no end-of-archive marker/],
  ['a header alone', file('a', 'x').subarray(0, 512), /cut short inside "a"/],
  ['a header cut short', tarOf(file('a', 'x')).subarray(0, 1400), /no end-of-archive marker|cut short/],
  ['contents cut short', tarOf(file('a', 'x'.repeat(5000))).subarray(0, 4096), /cut short inside "a"/],
  [
    'an extended header cut short',
    pax({ path: 'x'.repeat(2000) }).subarray(0, 1024),
    /damaged or cut short after byte 0/,
  ],
  ['an extended header and nothing', tarOf(pax({ path: 'x' })), /an extended header has no member/],
  ['a wrong checksum', tarOf(file('a').fill(0x31, 0, 1)), /damaged or cut short after byte 0/],
  [
    'garbage after a member',
    Buffer.concat([file('a'), Buffer.alloc(512, 7), Buffer.alloc(1024)]),
    /after byte 512/,
  ],
  ['garbage after the marker', Buffer.concat([tarOf(file('a')), Buffer.from('x')]), /something follows/],
  ['a second tar after the marker', Buffer.concat([tarOf(file('a')), tarOf(file('b'))]), /something follows/],
  [
    'a size that is huge',
    tarOf(member({ name: 'a', size: huge(0xff) })),
    /malformed size|cut short|not a tar/,
  ],
  ['a size that is negative', tarOf(member({ name: 'a', size: Buffer.alloc(12, 0xff) })), /malformed size/],
  [
    'a size that is no number',
    tarOf(member({ name: 'a', size: 'hello' })),
    /damaged or cut short after byte 0/,
  ],
  ['a pax size beyond the end', tarOf(pax({ size: '99999999999999' }), file('a')), /cut short inside/],
  ['a mode that is no number', tarOf(member({ name: 'a', mode: 'hello' })), /malformed mode/],
  ['a uid that is no number', tarOf(member({ name: 'a', uid: Buffer.alloc(8, 0xfe) })), /malformed uid/],
  ['a pax uid that is no number', tarOf(pax({ uid: '-1' }), file('a')), /malformed uid/],
  ['a pax uid too large', tarOf(pax({ uid: '4294967295' }), file('a')), /malformed uid/],
  [
    'a directory with contents',
    tarOf(member({ name: 'a', typeflag: '5', data: 'x' })),
    /directory with contents/,
  ],
  [
    'a pax header with many records',
    tarOf(pax(Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`k${i}`, 'v']))), file('a')),
    /over 256 pax records/,
  ],
];
for (const [what, tar, message] of INVALID) {
  test(`readArchive() says that ${what} is not a whole tar`, async () => {
    await assert.rejects(readArchive(tar, LIMITS), refusal('archive-invalid', message));
    assert.equal((await lintArchive(tar, LIMITS)).length, 1);
  });
}

test('one block of zeros ends an archive, and any number do', async () => {
  assert.equal((await readArchive(Buffer.concat([file('a'), Buffer.alloc(512)]), LIMITS)).length, 1);
  assert.equal((await readArchive(Buffer.concat([file('a'), Buffer.alloc(20_480)]), LIMITS)).length, 1);
});

test('lintArchive() lists everything in order, and how many more there are', async () => {
  const tar = tarOf(file('/a'), file('ok'), link('l', '..'), member({ name: 'f', typeflag: '6' }));
  assert.deepEqual(await lintArchive(tar, LIMITS), [
    '"/a" is an absolute path',
    '"f" is a fifo',
    '"l" is a symlink to "..", which leads out of the archive',
  ]);
  const many = tarOf(...Array.from({ length: 60 }, (_, i) => file(`/a${i}`)));
  const lines = await lintArchive(many, LIMITS);
  assert.equal(lines.length, 51);
  assert.equal(lines.at(-1), 'and 10 more');
});

test('listArchive() lists what can not be mounted, too', async () => {
  const tar = tarOf(
    dir('./'),
    file('/a', 'xy'),
    member({ name: 'h', typeflag: '1', linkname: '/a' }),
    member({ name: 'dev', typeflag: '3', mode: '0004600' }),
    member({ name: 'v', typeflag: 'V' }),
  );
  const listed = await listArchive(Buffer.concat([tar, Buffer.from('trailing')]));
  assert.deepEqual(listed, [
    { path: '.', kind: 'directory', mode: 0o755, uid: 0, gid: 0, size: 0 },
    { path: '/a', kind: 'file', mode: 0o644, uid: 0, gid: 0, size: 2 },
    { path: 'h', kind: 'hard link', mode: 0o644, uid: 0, gid: 0, size: 0, target: '/a' },
    { path: 'dev', kind: 'character device', mode: 0o4600, uid: 0, gid: 0, size: 0 },
    { path: 'v', kind: 'unknown', mode: 0o644, uid: 0, gid: 0, size: 0 },
  ]);
});

/** Of this process: a machine that others are busy on is not slower by it. */
const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

test('100,000 entries are read in seconds, not minutes, and so are hostile ones', async () => {
  const many = tarOf(...Array.from({ length: 100_000 }, (_, i) => file(`d${i % 100}/f${i}`)));
  const started = cpuMs();
  assert.equal((await readArchive(many, { filesMax: 200_000, bytesMax: 1 })).length, 100_100);
  assert.ok(cpuMs() - started < 10_000, `${cpuMs() - started} ms`);

  const path = 'd/'.repeat(63);
  const deep = Array.from({ length: 3000 }, (_, i) => [
    pax({ path: `${path}l${i}`, linkpath: `${'../'.repeat(60)}${'a/../'.repeat(600)}l${(i + 1) % 3000}` }),
    link('l', 'x'),
  ]);
  const before = cpuMs();
  assert.ok((await lintArchive(tarOf(...deep.flat()), { filesMax: 1e6, bytesMax: 1 })).length >= 0);
  assert.ok(cpuMs() - before < 10_000, `${cpuMs() - before} ms`);
});

test('100,000 entries are written in seconds', async () => {
  const entries: ArchiveEntry[] = Array.from({ length: 100_000 }, (_, i) => ({
    kind: 'file',
    path: `f${i}`,
    mode: 0o400,
    uid: 0,
    gid: 0,
    data: Buffer.from('x'),
  }));
  const started = cpuMs();
  assert.equal((await writeArchive(entries)).length, 100_000 * 1024 + 1024);
  assert.ok(cpuMs() - started < 20_000, `${cpuMs() - started} ms`);
});

test('a global extended header with many records is not merged into every member', async () => {
  const records = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`k${i}`, 'v']));
  const members = Array.from({ length: 1000 }, (_, i) => [pax({ comment: 'x' }), file(`f${i}`)]);
  const started = cpuMs();
  await assert.rejects(
    readArchive(tarOf(pax(records, 'g'), ...members.flat()), LIMITS),
    refusal('archive-invalid', /the global pax header at byte 0 holds \d+ bytes/),
  );
  assert.ok(cpuMs() - started < 5000, `${cpuMs() - started} ms`);
});

test('reading lets others have their turn every few hundred members', async () => {
  const tar = tarOf(...Array.from({ length: 2000 }, (_, i) => link(`l${i}`, 'f')), file('f'));
  let turns = 0;
  const yielding = {
    yield: () =>
      new Promise<void>((resolve) => {
        turns++;
        setImmediate(resolve);
      }),
  };
  const turnsOf = async (reading: Promise<unknown>) => {
    await reading;
    const taken = turns;
    turns = 0;
    return taken;
  };
  const limits = { filesMax: 3000, bytesMax: 1, ...yielding };
  assert.ok((await turnsOf(readArchive(tar, limits))) >= 14);
  assert.ok((await turnsOf(lintArchive(tar, limits))) >= 14);
  assert.ok((await turnsOf(lintArchive(tar, { ...limits, filesMax: 1 }))) >= 7);
  assert.ok((await turnsOf(listArchive(tar, yielding))) >= 7);
  assert.equal((await readArchive(tar, { filesMax: 3000, bytesMax: 1 })).length, 2001);
});

test('lintArchive() holds no more of an archive than its files limit', async () => {
  const members = Array.from({ length: 20_000 }, (_, i) => file(`${i.toString(36)}${'/a'.repeat(46)}`));
  const tar = tarOf(...members, link('z', '..'), file('/z'));
  const rssBefore = process.memoryUsage().rss;
  assert.deepEqual(await lintArchive(tar, LIMITS), [
    'it has over 1000 files and directories',
    'what comes after its first 1000 files and directories was not checked',
  ]);
  const grown = process.memoryUsage().rss - rssBefore;
  assert.ok(grown < 150_000_000, `${grown} bytes`);
  // Damage is looked for to the end.
  const lines = await lintArchive(tar.subarray(0, -1024), LIMITS);
  assert.match(lines.at(-2) ?? '', /no end-of-archive marker/);
});
