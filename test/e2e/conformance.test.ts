/**
 * What every driver must do, seen from outside: tools and system calls on a mount that another process serves.
 * Runs once for each driver of DRIVERS. docs/semantics.md cites these titles.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import * as fs from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { patternBytes, type Spec, type SpecEntry } from '../support/serve.ts';
import { cleanups, exec, type Server, serve, temporaryDirectory } from '../support/server.ts';
import { SLOWNESS } from '../support/slowness.ts';

/** `handleAttributes`: fstat of an old handle shows the old file. */
const DRIVERS = [
  { name: 'fuse-native', handleAttributes: false },
  { name: 'kernel', handleAttributes: true },
] as const;

const MEBIBYTE = 1024 * 1024;

async function failsWith(code: string, action: Promise<unknown>): Promise<void> {
  await assert.rejects(action, { code });
}

/** Runs Python against the mount: for the calls that Node does not have. Prints are returned. */
async function python(script: string, ...args: string[]): Promise<string> {
  return (await exec('python3', ['-c', script, ...args])).stdout.trim();
}

/** Runs a command as another user; resolves to its exit code. */
async function as(uid: number, gid: number, groups: string, ...argv: string[]): Promise<number> {
  const user = [
    '--reuid',
    `${uid}`,
    '--regid',
    `${gid}`,
    ...(groups === '' ? ['--clear-groups'] : ['--groups', groups]),
  ];
  try {
    await exec('setpriv', [...user, '--', ...argv]);
    return 0;
  } catch (error) {
    return (error as { code: number }).code;
  }
}

for (const driver of DRIVERS) {
  const title = (text: string) => `${driver.name}: ${text}`;
  const start = (t: TestContext, spec: Spec): Promise<Server> =>
    serve(spec, cleanups(t), { driver: driver.name });

  test(title('ls, find, cp -a, sha256sum, tar, stat and diff work on the mount'), async (t) => {
    const after = cleanups(t);
    const server = await serve(
      {
        entries: [
          { path: 'top.txt', text: 'top\n' },
          { path: 'a/b/deep', pattern: { bytes: 300_000, seed: 1 } },
          { path: 'a/empty', text: '' },
          { path: 'a/tool', text: '#!/bin/sh\n', mode: 0o755 },
          { path: 'link', target: 'a/b/deep' },
          { path: 'dirlink', target: 'a' },
          { path: 'dangling', target: 'nowhere' },
          { path: 'hollow/' },
        ],
      },
      after,
      { driver: driver.name },
    );
    const copy = await temporaryDirectory(after);
    const { stdout: listing } = await exec('ls', ['-laR', server.mountpoint]);
    for (const name of ['top.txt', 'deep', 'link -> a/b/deep', 'hollow'])
      assert.ok(listing.includes(name), name);
    const { stdout: found } = await exec('find', ['.', '-type', 'f'], { cwd: server.mountpoint });
    assert.deepEqual(found.trim().split('\n').sort(), ['./a/b/deep', './a/empty', './a/tool', './top.txt']);
    await exec('cp', ['-a', `${server.mountpoint}/.`, copy]);
    await exec('diff', ['-r', '--no-dereference', server.mountpoint, copy]);
    await exec('sh', ['-c', 'tar -C "$1" -cf - . | tar -C "$2" -xf -', 'sh', server.mountpoint, copy]);
    await exec('diff', ['-r', '--no-dereference', server.mountpoint, copy]);
    const { stdout: sum } = await exec('sha256sum', [server.path('link')]);
    const want = createHash('sha256')
      .update(patternBytes({ bytes: 300_000, seed: 1 }))
      .digest('hex');
    assert.equal(sum.split(' ')[0], want);
    const { stdout: seen } = await exec('stat', [
      '-c',
      '%F %a %U %G %s %h',
      server.path('a'),
      server.path('a/tool'),
    ]);
    assert.deepEqual(seen.trim().split('\n'), [
      'directory 700 root root 4096 3',
      'regular file 700 root root 10 1',
    ]);
    assert.equal(await fs.readlink(server.path('link')), 'a/b/deep');
    assert.equal(await fs.realpath(server.path('dirlink/b')), server.path('a/b'));
    await failsWith('ENOENT', fs.stat(server.path('dangling')));
  });

  test(
    title('every change is refused with EROFS, also after remount,rw, and extended attributes with ENOTSUP'),
    async (t) => {
      const server = await start(t, {
        entries: [
          { path: 'd/f', text: 'x' },
          { path: 'l', target: 'd/f' },
        ],
      });
      const f = server.path('d/f');
      const changes: Record<string, () => Promise<unknown>> = {
        write: () => fs.writeFile(f, 'y'),
        append: () => fs.appendFile(f, 'y'),
        'open r+': () => fs.open(f, 'r+'),
        create: () => fs.writeFile(server.path('new'), 'y'),
        truncate: () => fs.truncate(f, 0),
        unlink: () => fs.unlink(f),
        rename: () => fs.rename(f, server.path('g')),
        mkdir: () => fs.mkdir(server.path('m')),
        rmdir: () => fs.rmdir(server.path('d')),
        chmod: () => fs.chmod(f, 0o777),
        chown: () => fs.chown(f, 1, 1),
        utimes: () => fs.utimes(f, 1, 1),
        link: () => fs.link(f, server.path('h')),
        symlink: () => fs.symlink('x', server.path('s')),
      };
      const mknod =
        'import os,sys\ntry: os.mknod(sys.argv[1], 0o600|0o010000)\nexcept OSError as e: print(e.errno)';
      const xattr = `import os,sys
for act in (lambda: os.getxattr(sys.argv[1], "user.a"), lambda: os.listxattr(sys.argv[1]), lambda: os.setxattr(sys.argv[1], "user.a", b"1"), lambda: os.removexattr(sys.argv[1], "user.a")):
    try: print(act())
    except OSError as e: print(e.errno)`;
      const [EROFS, ENOTSUP] = ['30', '95'];
      await failsWith('EROFS', fs.access(f, constants.W_OK));
      for (const round of ['ro', 'rw']) {
        for (const [name, change] of Object.entries(changes)) {
          await assert.rejects(change(), { code: 'EROFS' }, `${name} ${round}`);
        }
        assert.equal(await python(mknod, server.path('fifo')), EROFS);
        const refused = round === 'ro' ? EROFS : ENOTSUP;
        assert.equal(
          (await python(xattr, f)).replace('[]', ENOTSUP),
          [ENOTSUP, ENOTSUP, refused, refused].join('\n'),
        );
        await exec('mount', ['-i', '-o', 'remount,rw', server.mountpoint]);
      }
      assert.equal(await fs.readFile(f, 'utf8'), 'x');
    },
  );

  test(title('the mount is nosuid, nodev and noexec'), async (t) => {
    const server = await start(t, { entries: [{ path: 'tool', text: '#!/bin/sh\n', mode: 0o755 }] });
    const mounts = await fs.readFile('/proc/self/mountinfo', 'utf8');
    const options = mounts
      .split('\n')
      .find((line) => line.includes(` ${server.mountpoint} `))
      ?.split(' ')[5];
    for (const option of ['ro', 'nosuid', 'nodev', 'noexec'])
      assert.ok(options?.split(',').includes(option), option);
    await failsWith('EACCES', exec(server.path('tool'), []));
  });

  test(title('permissions are those of the modes, for users, groups and supplementary groups'), async (t) => {
    const owned = { uid: 3001, gid: 3002 };
    const server = await start(t, {
      preserve: true,
      entries: [
        { path: 'owner', text: 'x', mode: 0o400, ...owned },
        { path: 'group', text: 'x', mode: 0o040, ...owned },
        { path: 'other', text: 'x', mode: 0o004, ...owned },
        { path: 'locked/file', text: 'x', mode: 0o444, ...owned },
        { path: 'locked/', mode: 0o700, ...owned },
      ],
    });
    const who = {
      owner: [3001, 4000, ''],
      group: [4000, 3002, ''],
      member: [4000, 4000, '3002'],
      other: [4000, 4000, ''],
    } as const;
    const may: Record<string, string[]> = {
      owner: ['owner'],
      group: ['group', 'member'],
      other: ['other'],
      'locked/file': ['owner'],
    };
    for (const [name, allowed] of Object.entries(may)) {
      for (const [user, [uid, gid, groups]] of Object.entries(who)) {
        const code = await as(uid, gid, groups, 'cat', server.path(name));
        assert.equal(code === 0, allowed.includes(user), `${user} reads ${name}`);
        const test = await as(uid, gid, groups, 'test', '-r', server.path(name));
        assert.equal(test === 0, allowed.includes(user), `${user} access ${name}`);
      }
    }
  });

  test(title('by default only root passes, whatever the bundle says'), async (t) => {
    const server = await start(t, { entries: [{ path: 'f', text: 'x', mode: 0o666, uid: 4000, gid: 4000 }] });
    assert.notEqual(await as(4000, 4000, '', 'ls', server.mountpoint), 0);
    assert.notEqual(await as(4000, 4000, '', 'cat', server.path('f')), 0);
    const stat = await fs.stat(server.path('f'));
    assert.deepEqual([stat.uid, stat.gid, stat.mode & 0o7777], [0, 0, 0o600]);
  });

  test(title('statfs shows what is there and nothing free'), async (t) => {
    const server = await start(t, { entries: [{ path: 'f', pattern: { bytes: 10_000, seed: 1 } }] });
    const now = await fs.statfs(server.mountpoint);
    assert.deepEqual(
      [now.bsize, now.blocks, now.bfree, now.bavail, now.files, now.ffree],
      [4096, 3, 0, 0, 2, 0],
    );
    assert.equal(
      await python('import os,sys; print(os.statvfs(sys.argv[1]).f_namemax)', server.mountpoint),
      '255',
    );
    const long = server.path('n'.repeat(256));
    await failsWith('ENAMETOOLONG', fs.stat(long));
  });

  test(
    title('reads at any offset and of any length give the right bytes, a 64 MiB file included'),
    async (t) => {
      const shape = { bytes: 64 * MEBIBYTE, seed: 7 };
      const server = await start(t, {
        entries: [
          { path: 'big', pattern: shape },
          { path: 'small', text: 'abc' },
        ],
      });
      const want = patternBytes(shape);
      const hash = createHash('sha256');
      for await (const chunk of createReadStream(server.path('big'))) hash.update(chunk);
      assert.equal(hash.digest('hex'), createHash('sha256').update(want).digest('hex'));
      const handle = await fs.open(server.path('big'));
      try {
        const cases: [number, number][] = [
          [0, 1],
          [4095, 2],
          [4096, 4096],
          [131_071, 131_074],
          [12_345_679, 999_983],
          [shape.bytes - 3, 10],
          [shape.bytes, 1],
          [shape.bytes + 1, 100],
          [2 ** 33 + 5, 100],
        ];
        for (const [position, length] of cases) {
          const buffer = Buffer.alloc(length);
          let got = 0;
          for (;;) {
            const { bytesRead } = await handle.read(buffer, got, length - got, position + got);
            if (bytesRead === 0) break;
            got += bytesRead;
            if (got === length) break;
          }
          const expected = want.subarray(Math.min(position, want.length), position + length);
          assert.ok(buffer.subarray(0, got).equals(expected), `${length} at ${position}`);
        }
      } finally {
        await handle.close();
      }
    },
  );

  test(title('mmap(MAP_PRIVATE), sendfile and O_DIRECT read the right bytes'), async (t) => {
    const shape = { bytes: 100_003, seed: 9 };
    const server = await start(t, { entries: [{ path: 'f', pattern: shape }] });
    const want = createHash('sha256').update(patternBytes(shape)).digest('hex');
    const mapped = `import mmap,os,sys,hashlib
fd = os.open(sys.argv[1], os.O_RDONLY)
m = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
print(hashlib.sha256(m[:]).hexdigest())
out = os.memfd_create("x")
done = 0
while done < ${shape.bytes}: done += os.sendfile(out, fd, done, ${shape.bytes} - done)
print(hashlib.sha256(os.pread(out, ${shape.bytes}, 0)).hexdigest())
direct = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
buffer = mmap.mmap(-1, 131072)
n = os.preadv(direct, [buffer], 0)
print(hashlib.sha256(buffer[:n]).hexdigest())`;
    assert.deepEqual((await python(mapped, server.path('f'))).split('\n'), [want, want, want]);
  });

  test(title('names of 255 bytes and in every script are served as they are'), async (t) => {
    const names = [
      'n'.repeat(255),
      'é'.repeat(127),
      '秘'.repeat(85),
      'секрет',
      'مفتاح',
      'कुंजी',
      '🔑'.repeat(63),
      'e\u0301',
      '\u00e9',
      ' leading and trailing ',
      'new\nline',
      'back\\slash',
      '-rf',
      '"quotes\'',
      '__proto__',
      '\u0001\u007f',
      '\uFFFD',
    ];
    const server = await start(t, { entries: names.map((name) => ({ path: name, text: name })) });
    assert.deepEqual((await fs.readdir(server.mountpoint)).sort(), [...names].sort());
    for (const name of names) assert.equal(await fs.readFile(server.path(name), 'utf8'), name);
  });

  test(title('a directory of 10,000 entries lists completely, each with its inode and type'), async (t) => {
    const entries: SpecEntry[] = Array.from({ length: 10_000 }, (_, i) => ({
      path: `d/f${i}`,
      text: `${i}`,
    }));
    const server = await start(t, {
      entries: [...entries, { path: 'd/sub/x', text: '' }, { path: 'd/l', target: 'f1' }],
    });
    const script = `import os,sys
inos = {}
for e in os.scandir(sys.argv[1]):
    inos[e.name] = (e.inode(), "d" if e.is_dir(follow_symlinks=False) else "l" if e.is_symlink() else "f")
bad = [n for n in ("f0", "f9999", "sub", "l") if inos[n][0] != os.lstat(os.path.join(sys.argv[1], n)).st_ino]
print(len(inos), len(set(i for i, _ in inos.values())), inos["sub"][1], inos["l"][1], inos["f5"][1], bad)`;
    assert.equal(await python(script, server.path('d')), '10002 10002 d l f []');
    assert.equal(await fs.readFile(server.path('d/f4711'), 'utf8'), '4711');
    const { stdout } = await exec('ls', ['-aU', server.path('d')]);
    assert.equal(stdout.trim().split('\n').length, 10_004);
  });

  test(title('an old handle keeps the old bytes, new opens get the new ones'), async (t) => {
    const server = await start(t, {
      entries: [
        { path: 'f', text: 'old content' },
        { path: 'gone', text: 'gone' },
      ],
    });
    const old = await fs.open(server.path('f'));
    const gone = await fs.open(server.path('gone'));
    const buffer = Buffer.alloc(100);
    const read = async (handle: fs.FileHandle) =>
      buffer.toString('utf8', 0, (await handle.read(buffer, 0, 100, 0)).bytesRead);
    try {
      await server.activate({
        entries: [
          { path: 'f', text: 'new' },
          { path: 'added', text: 'added' },
        ],
      });
      assert.equal(await read(old), 'old content');
      assert.equal(await read(gone), 'gone');
      assert.equal(await fs.readFile(server.path('f'), 'utf8'), 'new');
      assert.equal(await fs.readFile(server.path('added'), 'utf8'), 'added');
      await failsWith('ENOENT', fs.stat(server.path('gone')));
      assert.equal((await fs.stat(server.path('f'))).size, 3);
      assert.deepEqual((await fs.readdir(server.mountpoint)).sort(), ['added', 'f']);
      if (driver.handleAttributes) assert.equal((await old.stat()).size, 11);
      assert.deepEqual((await server.state()).lingering, [1]);
      server.send('retire');
      await server.next('done');
      // Node has no name for ESTALE.
      await assert.rejects(read(old), { errno: -116 });
      assert.equal(await fs.readFile(server.path('f'), 'utf8'), 'new');
    } finally {
      await old.close();
      await gone.close();
    }
  });

  test(title('a superseded generation is retired when its last handle is closed'), async (t) => {
    const server = await start(t, { entries: [{ path: 'f', text: 'one' }] });
    const handle = await fs.open(server.path('f'));
    await server.activate({ entries: [{ path: 'f', text: 'two' }] });
    assert.ok(!server.lines.includes('retired 1'));
    await handle.close();
    await server.next('retired');
    const state = await server.state();
    assert.deepEqual([state.lingering, state.handles, state.bytes], [[], 0, state.imageBytes]);
  });

  test(
    title(
      'an unchanged file keeps inode and mtime, a changed one has a new inode and a larger integer mtime',
    ),
    async (t) => {
      const server = await start(t, {
        entries: [
          { path: 'd/same', text: 'same' },
          { path: 'd/change', text: '0' },
          { path: 'e/f', text: '' },
        ],
      });
      const stats = async () =>
        Promise.all(
          ['d/same', 'd/change', 'd', 'e'].map((name) => fs.stat(server.path(name), { bigint: true })),
        );
      const seen = new Set<bigint>();
      let before = await stats();
      for (let i = 1; i <= 5; i++) {
        await server.activate({
          entries: [
            { path: 'd/same', text: 'same' },
            { path: 'd/change', text: `${i}` },
            { path: 'e/f', text: '' },
          ],
        });
        const now = await stats();
        const [same, change, d, e] = now;
        const [oldSame, oldChange, oldD, oldE] = before;
        assert.ok(same && change && d && e && oldSame && oldChange && oldD && oldE);
        assert.deepEqual([same.ino, same.mtimeNs], [oldSame.ino, oldSame.mtimeNs]);
        assert.deepEqual([e.ino, e.mtimeNs], [oldE.ino, oldE.mtimeNs]);
        assert.ok(!seen.has(change.ino) && change.ino !== oldChange.ino);
        seen.add(change.ino);
        assert.ok(change.mtimeNs >= oldChange.mtimeNs + 1_000_000_000n);
        assert.equal(change.mtimeNs % 1_000_000_000n, 0n);
        assert.equal(d.ino, oldD.ino);
        assert.ok(d.mtimeNs > oldD.mtimeNs);
        before = now;
      }
    },
  );

  test(title('the mountpoint itself has a larger mtime after its listing changed'), async (t) => {
    const server = await start(t, { entries: [{ path: 'a', text: '' }] });
    const before = await fs.stat(server.mountpoint);
    await server.activate({
      entries: [
        { path: 'a', text: '' },
        { path: 'b', text: '' },
      ],
    });
    const now = await fs.stat(server.mountpoint);
    assert.deepEqual([now.ino, now.mtimeMs > before.mtimeMs], [1, true]);
  });

  test(title('a file may become a directory or a symlink, and back'), async (t) => {
    const server = await start(t, { entries: [{ path: 'n', text: 'file' }] });
    assert.equal(await fs.readFile(server.path('n'), 'utf8'), 'file');
    await server.activate({ entries: [{ path: 'n/x', text: 'inside' }] });
    assert.equal(await fs.readFile(server.path('n/x'), 'utf8'), 'inside');
    await server.activate({
      entries: [
        { path: 'n', target: 'm' },
        { path: 'm', text: 'target' },
      ],
    });
    assert.equal(await fs.readFile(server.path('n'), 'utf8'), 'target');
    await server.activate({ entries: [{ path: 'n', text: 'file again' }] });
    assert.equal(await fs.readFile(server.path('n'), 'utf8'), 'file again');
  });

  test(
    title('a listing that is being read while generations change goes on, and later ones are new'),
    async (t) => {
      const spec = (prefix: string): Spec => ({
        entries: Array.from({ length: 3000 }, (_, i) => ({ path: `d/${prefix}${i}`, text: '' })),
      });
      const server = await start(t, spec('a'));
      const directory = await fs.opendir(server.path('d'), { bufferSize: 16 });
      const seen: string[] = [];
      for await (const entry of directory) {
        seen.push(entry.name);
        if (seen.length === 100) await server.activate(spec('b'));
        if (seen.length === 2000) await server.activate(spec('c'));
      }
      assert.deepEqual([seen.length, new Set(seen).size], [3000, 3000]);
      const prefixes = [...new Set(seen.map((name) => name[0]))].join('');
      assert.equal(prefixes, 'a');
      assert.ok((await fs.readdir(server.path('d'))).every((name) => name.startsWith('c')));
    },
  );

  test(title('200 rapid activations under verifying readers: no read fails, none is torn'), async (t) => {
    const BYTES = 300_000;
    // Each file says in its first bytes which generation it is of, and all the others follow from that.
    const spec = (n: number): Spec => ({
      entries: [
        { path: 'd/f', pattern: { bytes: BYTES, seed: n } },
        { path: 's', text: `${n}` },
      ],
    });
    const contents = Array.from({ length: 201 }, (_, n) => patternBytes({ bytes: BYTES, seed: n }));
    const bySeed = new Map(contents.map((content, n) => [content.readUInt32LE(), n]));
    const server = await start(t, spec(0));
    let done = false;
    const seeds = new Set<number>();
    let reads = 0;
    let highest = 0;
    async function reader(): Promise<void> {
      const buffer = Buffer.alloc(BYTES + 10);
      while (!done) {
        const handle = await fs.open(server.path('d/f'));
        try {
          let got = 0;
          for (let n = -1; n !== 0; got += n)
            ({ bytesRead: n } = await handle.read(buffer, got, Math.min(40_000, buffer.length - got), got));
          assert.equal(got, BYTES);
          const seed = bySeed.get(buffer.readUInt32LE());
          assert.ok(seed !== undefined);
          assert.ok(buffer.subarray(0, BYTES).equals(contents[seed] as Buffer), 'torn');
          seeds.add(seed);
          reads += 1;
          const small = Number(await fs.readFile(server.path('s'), 'utf8'));
          assert.ok(small >= seed, `went back from ${seed} to ${small}`);
          highest = Math.max(highest, small);
        } finally {
          await handle.close();
        }
      }
    }
    const readers = [reader(), reader()];
    const failure = Promise.all(readers);
    failure.catch(() => {
      done = true;
    });
    for (let n = 1; n <= 200 && !done; n++) await server.activate(spec(n));
    done = true;
    await failure;
    assert.equal(Number(await fs.readFile(server.path('s'), 'utf8')), 200);
    const state = await server.state();
    for (let i = 0; i < 250 * SLOWNESS && (await server.state()).lingering.length > 0; i++) await sleep(20);
    const settled = await server.state();
    assert.equal(settled.lingering.length, 0);
    assert.equal(settled.bytes, settled.imageBytes);
    assert.ok(seeds.size > 10, `${seeds.size} generations seen in ${reads} reads; ${state.live}`);
    console.log(`# ${reads} reads over ${seeds.size} generations`);
  });

  test(
    title('unmount takes the mount away while files are open, and leaves no process or mount'),
    async (t) => {
      const server = await start(t, { entries: [{ path: 'f', text: 'x' }] });
      const handle = await fs.open(server.path('f'));
      try {
        server.send('unmount');
        await server.next('unmounted');
        assert.deepEqual(await fs.readdir(server.mountpoint), []);
        assert.equal((await server.state()).mounted, false);
        const ended = new Promise((resolve) => server.child.once('exit', resolve));
        server.child.stdin?.end();
        assert.equal(await ended, 0);
      } finally {
        await handle.close().catch(() => {});
      }
    },
  );

  test(title('an unmount by somebody else is noticed'), async (t) => {
    const server = await start(t, { entries: [] });
    assert.equal((await server.state()).mounted, true);
    await exec('mount', ['-t', 'tmpfs', 'over', server.mountpoint]);
    assert.equal((await server.state()).mounted, true);
    server.send('unmount');
    await assert.rejects(server.next('unmounted'), /error mount\S+ .*tmpfs is mounted over it/);
    await exec('umount', [server.mountpoint]);
    // The kernel driver's supervisor holds the mount, which is therefore busy without -l.
    await exec('umount', ['-l', server.mountpoint]);
    assert.equal((await server.state()).mounted, false);
    const ended = new Promise((resolve) => server.child.once('exit', resolve));
    server.child.stdin?.end();
    assert.equal(await ended, 0);
  });

  test(title('after kill -9 the mount answers ENOTCONN, and the next start clears it'), async (t) => {
    const after = cleanups(t);
    const mountpoint = await temporaryDirectory(after);
    const first = await serve({ entries: [{ path: 'f', text: 'first' }] }, after, {
      mountpoint,
      driver: driver.name,
    });
    await first.kill();
    // What is asked while the last process that holds the device is dying may still be taken, and comes back as this.
    const failure = () => fs.readFile(path.join(mountpoint, 'f')).catch((error) => error.code);
    for (let i = 0; i < 100 * SLOWNESS && (await failure()) === 'ECONNABORTED'; i++) await sleep(20);
    await failsWith('ENOTCONN', fs.readFile(path.join(mountpoint, 'f')));
    const second = await serve({ entries: [{ path: 'f', text: 'second' }] }, after, {
      mountpoint,
      driver: driver.name,
    });
    const ready = JSON.parse((second.lines[0] ?? '').replace('ready ', ''));
    assert.deepEqual(
      ready.cleared.map((m: { fstype: string }) => m.fstype),
      ['fuse.secretsfs'],
    );
    assert.equal(await fs.readFile(path.join(mountpoint, 'f'), 'utf8'), 'second');
    await assert.rejects(
      serve({ entries: [] }, after, { mountpoint, driver: driver.name }),
      /error mountpoint-busy .*another secretsfs/,
    );
    assert.equal(
      await fs.readFile(path.join(mountpoint, 'f'), 'utf8'),
      'second',
      'the live one is untouched',
    );
  });
}
