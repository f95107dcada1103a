import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { lintArchive, listArchive, readArchive } from '../../../src/bundle/archive.ts';
import { refusal } from '../../support/bundles.ts';
import { member, pax, tarOf } from '../../support/tars.ts';

const LIMITS = { filesMax: 1000, bytesMax: 1_000_000 };
const read = (...members: Buffer[]) => readArchive(tarOf(...members), LIMITS);
const file = (name: string, data = '') => member({ name, data });
const link = (name: string, linkname: string) => member({ name, typeflag: '2', linkname, mode: '0000777' });

const temporary = mkdtempSync(path.join(tmpdir(), 'secretsfs-extended-'));
after(() => rmSync(temporary, { recursive: true }));

const INVALID: [string, Buffer, RegExp][] = [
  ['a pax size that is no number', tarOf(pax({ size: 'x' }), file('a')), /size that is no number/],
  [
    'a pax size that only begins as one',
    tarOf(pax({ size: '3x' }), file('a', 'abc')),
    /size that is no number/,
  ],
  ['a pax size after a space', tarOf(pax({ size: ' 3' }), file('a', 'abc')), /size that is no number/],
  ...['x y=z\n', '0 a=b\n', '5 a=b\n', '7 a=b\n', '6 a=b', '-6 a=b\n', '6  a=b\n', '\0', '6 a=b\n\0'].map(
    (data): [string, Buffer, RegExp] => [
      `a pax record ${JSON.stringify(data)}`,
      tarOf(member({ name: 'p', typeflag: 'x', data }), file('a')),
      /the pax header at byte 0 has a record/,
    ],
  ),
  [
    'a pax record without a key',
    tarOf(member({ name: 'p', typeflag: 'x', data: '5 =b\n' }), file('a')),
    /without a key/,
  ],
  [
    'an extended header over 64 KiB',
    tarOf(file('a'), pax({ comment: 'x'.repeat(65_536) }), file('b')),
    /the pax header at byte 512 holds 65551 bytes, want at most 65536/,
  ],
  [
    'a long name over 64 KiB, in base-256',
    tarOf(
      member({
        name: 'l',
        typeflag: 'L',
        size: Buffer.from([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]),
        data: Buffer.alloc(65_537, 'n'),
      }),
      file('b'),
    ),
    /holds 65537 bytes/,
  ],
  ['two pax headers for one member', tarOf(pax({ a: 'b' }), pax({ a: 'b' }), file('a')), /is the second/],
  [
    'two pax headers with a global one between',
    tarOf(pax({ a: 'b' }), pax({ a: 'b' }, 'g'), pax({ a: 'b' }), file('a')),
    /the pax header at byte 2048 is the second for one member/,
  ],
  ...['LL', 'KK', 'LN', 'LxKgL'].map((flags): [string, Buffer, RegExp] => [
    `extended headers of types ${flags} for one member`,
    tarOf(...[...flags].map((typeflag) => member({ name: 'l', typeflag, data: '6 a=b\n' })), file('a')),
    /is the second for one member/,
  ]),
  [
    'nine global headers',
    tarOf(...Array.from({ length: 9 }, (_, i) => [pax({ a: 'b' }, 'g'), file(`f${i}`)]).flat()),
    /one too many: an archive may have 8/,
  ],
  ...['path', 'linkpath', 'size'].map((key): [string, Buffer, RegExp] => [
    `a global ${key}`,
    tarOf(pax({ [key]: '1' }, 'g'), file('a')),
    new RegExp(`the global pax header at byte 0 has a ${key}, which is one member's`),
  ]),
  // tar-stream skips as many bytes again after the next member, and so sees others than tar does.
  ['an empty extended header', tarOf(pax({}), file('a', 'b'.repeat(512)), file('b')), /is empty/],
  [
    'an extended header of a negative size',
    tarOf(member({ name: 'p', typeflag: 'x', size: Buffer.alloc(12, 0xff) }), file('a')),
    /size is malformed/,
  ],
  // tar-stream skips zeros there, where tar sees the end of the archive.
  ['zeros after an extended header', tarOf(pax({ a: 'b' }), Buffer.alloc(512), file('a')), /has no member/],
  [
    'zeros but for a checksum',
    tarOf(file('a'), Buffer.concat([Buffer.alloc(148), Buffer.from('7'), Buffer.alloc(363)]), file('b')),
    /damaged or cut short after byte 512/,
  ],
];
for (const [what, tar, message] of INVALID) {
  test(`readArchive() refuses ${what}`, async () => {
    await assert.rejects(readArchive(tar, LIMITS), refusal('archive-invalid', message));
    await assert.rejects(listArchive(tar), refusal('archive-invalid', message));
    assert.match((await lintArchive(tar, LIMITS)).at(-1) ?? '', message);
  });
}

test('extended headers of other programs are read: one of each kind a member, eight global ones', async () => {
  const global = (i: number) => [pax({ comment: `c${i}`, mtime: '1' }, 'g'), file(`g${i}`)];
  const entries = await read(
    ...Array.from({ length: 8 }, (_, i) => global(i)).flat(),
    member({ name: 'l', typeflag: 'L', data: `${'l'.repeat(120)}\0` }),
    member({ name: 'k', typeflag: 'K', data: `${'k'.repeat(120)}\0` }),
    link('l', 'k'),
    pax({ path: 'é', size: '3', 'SCHILY.xattr.user.a': Buffer.from([0, 10, 61, 255]) }),
    file('a', 'abc'),
    pax(Object.fromEntries(Array.from({ length: 256 }, (_, i) => [`k${i}`, 'v']))),
    file('b'),
    pax({ comment: 'x'.repeat(65_521) }),
    file('c'),
  );
  assert.equal(entries.length, 12);
  assert.deepEqual(entries[8], {
    kind: 'symlink',
    path: 'l'.repeat(120),
    mode: 0o777,
    uid: 0,
    gid: 0,
    target: 'k'.repeat(120),
  });
  assert.deepEqual(await read(pax({ comment: 'git archive of nothing' }, 'g')), []);
});

test("GNU tar, python's tarfile and git archive write what can be mounted", async () => {
  const tree = path.join(temporary, 'python');
  const long = path.join('deep', 'n'.repeat(120));
  mkdirSync(path.join(tree, long), { recursive: true });
  writeFileSync(path.join(tree, long, 'é'.repeat(90)), 'long');
  symlinkSync('t'.repeat(150), path.join(tree, long, 'dangling'));
  const script = `
import sys, tarfile
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=getattr(tarfile, sys.argv[1]),
                  pax_headers={"comment": "global"}) as tar:
    tar.add(sys.argv[2], arcname=".")
`;
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', tree, '-c', 'user.name=a', '-c', 'user.email=a@example.org', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  const tars = ['PAX_FORMAT', 'GNU_FORMAT'].map((format): [string, Buffer] => [
    format,
    execFileSync('python3', ['-c', script, format, tree]),
  ]);
  for (const format of ['pax', 'gnu']) {
    const options = format === 'pax' ? ['--pax-option=globexthdr.name=g,comment=global'] : [];
    tars.push([
      `GNU tar, ${format}`,
      execFileSync('tar', ['-C', tree, `--format=${format}`, ...options, '-c', '.']),
    ]);
  }
  git('init', '--quiet');
  git('add', '.');
  git('commit', '--quiet', '--message=all');
  tars.push(['git archive', git('archive', 'HEAD')]);
  for (const [what, tar] of tars) {
    assert.deepEqual(await lintArchive(tar, LIMITS), [], what);
    const paths = (await readArchive(tar, LIMITS)).map((entry) => entry.path);
    assert.ok(paths.includes(`${long}/${'é'.repeat(90)}`), what);
    assert.ok(paths.includes(`${long}/dangling`), what);
  }
});

test('a bomb of pax headers without members between is refused at once', async () => {
  const line = (i: number) => {
    const key = i.toString(36).padStart(4, '0');
    return `9 ${key}=a\n`.length === 9 ? `9 ${key}=a\n` : assert.fail(key);
  };
  const records = Buffer.from(Array.from({ length: 440_000 }, (_, i) => line(i)).join(''));
  const global = member({ name: 'g', typeflag: 'g', data: records });
  const many = Array.from({ length: 200 }, () => pax({ a: 'b' }));
  const bombs = [
    tarOf(global, ...many, file('f')),
    tarOf(file('f'), global, ...many, file('g')),
    tarOf(...many, file('f')),
    tarOf(pax({ a: 'b' }, 'g'), ...many.flatMap((x) => [x, Buffer.alloc(512)]), file('f')),
  ];
  const rssBefore = process.memoryUsage().rss;
  for (const tar of bombs) {
    for (const reading of [() => readArchive(tar, LIMITS), () => listArchive(tar)]) {
      const started = performance.now();
      await assert.rejects(reading(), refusal('archive-invalid'));
      assert.ok(performance.now() - started < 500, `${performance.now() - started} ms`);
    }
  }
  const grown = process.memoryUsage().rss - rssBefore;
  assert.ok(grown < 100_000_000, `${grown} bytes`);
});
