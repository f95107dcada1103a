/**
 * What only the kernel driver does: caches that stay right over a rotation, inotify events, and mounts of the mount.
 * Seen from outside, like conformance.test.ts. docs/semantics.md cites these titles.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { watch } from 'node:fs';
import * as fs from 'node:fs/promises';
import { release } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Events } from '../support/inotify.ts';
import { eventually } from '../support/program.ts';
import { Python } from '../support/python.ts';
import { patternBytes, type SpecEntry } from '../support/serve.ts';
import { type Churn, churnFile, type KernelSpec } from '../support/serve-kernel.ts';
import { cleanups, exec, type Server, serve, temporaryDirectory } from '../support/server.ts';
import { SLOWNESS } from '../support/slowness.ts';

type Engine = NonNullable<KernelSpec['engine']>;
type After = ReturnType<typeof cleanups>;

const DRIVER = { driver: 'kernel' } as const;
const PAGE_BYTES = 4096;
/** Requests that no test asks for: a probe under way, and the last RELEASE or FORGET of what came before. */
const STRAY_MAX = 10;

const file = (name: string, text: string): SpecEntry => ({ path: name, text });

async function start(t: TestContext, entries: readonly SpecEntry[], engine?: Engine) {
  const after = cleanups(t);
  const server = await serve({ entries, ...(engine === undefined ? {} : { engine }) }, after, DRIVER);
  return { after, server };
}

/** Before Linux 6.5, sendfile of what is opened for direct I/O is a read like any other, and leaves no pages. */
const SENDFILE_ASKS = before65(release());

function before65(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < 6 || (major === 6 && minor < 5);
}

/** Requests that reached the server during `act`, without those that ask once a second whether it lives. */
async function requestsOf(server: Server, act: () => Promise<unknown>): Promise<number> {
  const count = async () => {
    const { requests, probes } = await server.state();
    return requests - probes;
  };
  const before = await count();
  await act();
  return (await count()) - before;
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 250 * SLOWNESS; i++) {
    if (await holds()) return;
    await sleep(20);
  }
  assert.fail(`not within 5 s: ${what}`);
}

async function failsWith(code: string, action: Promise<unknown>): Promise<void> {
  await assert.rejects(action, { code });
}

/** Of a shell command: what it prints; throws what it says otherwise. */
async function sh(script: string, ...args: string[]): Promise<string> {
  return (await exec('sh', ['-euc', script, 'sh', ...args])).stdout.trim();
}

function sha(data: Uint8Array | string): string {
  return createHash('sha256').update(data).digest('hex');
}

/** A process in a mount namespace of its own, as a container is. Returns what to run commands in it with. */
async function container(
  after: After,
  propagation: 'slave' | 'private',
): Promise<{ readonly inside: readonly string[]; readonly python: Python }> {
  const python = new Python(after, ['unshare', '-m', '--propagation', propagation, '--']);
  const pid = await python.run<number>('out = os.getpid()');
  return { python, inside: ['nsenter', '-m', '-t', `${pid}`, '--'] };
}

// --- caches

test('with fast opens, stat, open and read of what is cached never reach the server', async (t) => {
  const { after, server } = await start(t, [file('d/f', 'content')], { cache: 'page', fastOpen: true });
  const py = new Python(after);
  const round = (times: number) => `
for i in range(${times}):
    os.stat(${JSON.stringify(server.path('d/f'))})
    assert content(${JSON.stringify(server.path('d/f'))}) == "content"`;
  await py.run(round(2));
  const requests = await requestsOf(server, () => py.run(round(2000)));
  assert.ok(requests < STRAY_MAX, `${requests} requests`);
});

test('with answered opens, an open costs two requests and what is cached costs none', async (t) => {
  const { after, server } = await start(t, [file('d/f', 'content')], { cache: 'page', fastOpen: false });
  const py = new Python(after);
  const name = JSON.stringify(server.path('d/f'));
  await py.run(`content(${name})`);
  const stats = await requestsOf(server, () => py.run(`for i in range(2000): os.stat(${name})`));
  assert.ok(stats < STRAY_MAX, `${stats} requests for stat`);
  const opens = await requestsOf(server, () =>
    py.run(`for i in range(500): assert content(${name}) == "content"`),
  );
  // OPEN and RELEASE, of which the last may still be under way; the read is of cached pages.
  assert.ok(opens >= 990 && opens < 1000 + STRAY_MAX, `${opens} requests for 500 opens`);
});

test('what a name is not is cached too, until something is there', async (t) => {
  const { after, server } = await start(t, [file('d/f', '1')]);
  const py = new Python(after);
  const missing = `
for i in range(2000):
    try: os.stat(${JSON.stringify(server.path('d/new'))}); out = "there"
    except FileNotFoundError: out = "missing"`;
  await py.run(missing);
  const requests = await requestsOf(server, async () => assert.equal(await py.run(missing), 'missing'));
  assert.ok(requests < STRAY_MAX, `${requests} requests`);
  await server.activate({ entries: [file('d/f', '1'), file('d/new', 'new')] });
  assert.equal(await fs.readFile(server.path('d/new'), 'utf8'), 'new');
});

test('an unchanged file keeps its cached pages over a rotation; of a changed one none is left over', async (t) => {
  const shape = { bytes: 10 * PAGE_BYTES, seed: 5 };
  const entries = (n: number) => [
    { path: 'same', pattern: shape },
    { path: 'changing', pattern: { bytes: shape.bytes, seed: 100 + n } },
  ];
  const { after, server } = await start(t, entries(0));
  const py = new Python(after);
  const resident = (name: string) => py.run(`out = resident(${JSON.stringify(server.path(name))})`);
  // The kernel may take a page for somebody else meanwhile.
  await eventually(async () => {
    await fs.readFile(server.path('same'));
    await fs.readFile(server.path('changing'));
    assert.deepEqual([await resident('same'), await resident('changing')], [10, 10]);
  });
  await server.activate({ entries: entries(1) });
  assert.deepEqual([await resident('same'), await resident('changing')], [10, 0]);
  const want = patternBytes({ bytes: shape.bytes, seed: 101 });
  assert.ok((await fs.readFile(server.path('changing'))).equals(want));
});

for (const [how, fill] of [
  ['sendfile', 'sent(fd, 40960)'],
  ['a private mapping', 'm = mapped(fd); sha(m[:]); m.close()'],
] as const) {
  test(`--cache none: what ${how} brought into the page cache is gone after the close; --cache page: it stays`, async (t) => {
    const costs: number[] = [];
    for (const cache of ['page', 'none'] as const) {
      const { after, server } = await start(t, [{ path: 'f', pattern: { bytes: 40_960, seed: 1 } }], {
        cache,
      });
      const py = new Python(after);
      const open = `fd = opened(${JSON.stringify(server.path('f'))})`;
      await py.run(`${open}; ${fill}`);
      // While it is open, sendfile finds the pages under either policy: what has to go is really there.
      const again = await requestsOf(server, () => py.run('for i in range(20): sent(fd, 40960)'));
      const isAsked = cache === 'none' && SENDFILE_ASKS;
      assert.ok(isAsked ? again >= 20 : again < 20, `${again} requests while it is open`);
      await py.run('os.close(fd)');
      // An open and a close are two requests, a read is one more.
      costs.push(
        await requestsOf(server, async () => {
          for (let i = 0; i < 20; i++) {
            await sleep(25);
            await py.run(`${open}; sent(fd, 40960); ${fill}; os.close(fd)`);
          }
        }),
      );
    }
    const [page = 0, none = 0] = costs;
    assert.ok(page < 2 * 20 + STRAY_MAX && none >= 3 * 20, `${page} and ${none} requests`);
  });
}

test('--cache none: every read reaches the server, stat does not', async (t) => {
  const { after, server } = await start(t, [file('f', 'content')], { cache: 'none' });
  const py = new Python(after);
  const name = JSON.stringify(server.path('f'));
  await py.run(`fd = opened(${name})`);
  const reads = await requestsOf(server, () => py.run('for i in range(200): os.pread(fd, 100, 0)'));
  assert.ok(reads >= 200, `${reads} requests for 200 reads`);
  const stats = await requestsOf(server, () => py.run(`for i in range(2000): os.stat(${name})`));
  assert.ok(stats < STRAY_MAX, `${stats} requests for stat`);
});

// --- one inode, one content

const READ_ALL = (name: string) => `
fd = opened(${JSON.stringify(name)})
st = os.fstat(fd)
out = [os.pread(fd, 200000, 0).decode(), st.st_size, st.st_ino, st.st_nlink, bytes(mapped(fd)[:]).decode(), sent(fd, 200000).decode(), spliced(fd, 200000).decode()]`;

for (const cache of ['page', 'none'] as const) {
  test(`stat, fstat, read, mmap, sendfile and splice agree, before and after (--cache ${cache})`, async (t) => {
    const { after, server } = await start(t, [file('f', 'old content')], { cache });
    const py = new Python(after);
    const [, , oldIno] = await py.run<[string, number, number]>(READ_ALL(server.path('f')));
    await py.run('old = fd; oldMapping = mapped(old)');
    await server.activate({ entries: [file('f', 'the new one')] });
    const seen = await py.run<unknown[]>(READ_ALL(server.path('f')));
    const { ino } = await fs.stat(server.path('f'));
    assert.notEqual(ino, oldIno);
    const text = 'the new one';
    assert.deepEqual(seen, [text, 11, ino, 1, text, text, text]);
    const kept = await py.run(
      'st = os.fstat(old); out = [os.pread(old, 99, 0).decode(), st.st_size, st.st_ino, st.st_nlink, oldMapping[:].decode(), bytes(mapped(old)[:]).decode(), sent(old, 99).decode(), spliced(old, 99).decode()]',
    );
    const was = 'old content';
    assert.deepEqual(kept, [was, 11, oldIno, 0, was, was, was, was]);
  });

  test(`after retirement an old descriptor answers ESTALE and an old mapping SIGBUS (--cache ${cache})`, async (t) => {
    const shape = { bytes: 8 * PAGE_BYTES, seed: 3 };
    const { after, server } = await start(t, [{ path: 'f', pattern: shape }], { cache });
    const py = new Python(after);
    const hash = await py.run(
      `fd = opened(${JSON.stringify(server.path('f'))}); m = mapped(fd); os.pread(fd, 99999, 0); out = sha(m[:])`,
    );
    assert.equal(hash, sha(patternBytes(shape)));
    await server.activate({ entries: [file('f', 'new')] });
    assert.equal(await py.run('out = sha(m[:])'), hash);
    server.send('retire');
    await server.next('done');
    for (const call of ['os.pread(fd, 100, 0)', 'os.pread(fd, 99999, 0)', 'os.fstat(fd)', 'sent(fd, 100)'])
      await assert.rejects(py.run(call), { code: 'ESTALE' }, call);
    assert.equal(await fs.readFile(server.path('f'), 'utf8'), 'new');
    await assert.rejects(py.run('out = m[0]'), /python ended: SIGBUS/);
  });

  test(`readers that verify inode, size and bytes through read, mmap and sendfile see no mixture in 60 rotations (--cache ${cache})`, async (t) => {
    const churn: Churn = { count: 60, everyMs: 30, files: 14, bytes: 9_000, changing: 2 };
    const entries = Array.from({ length: churn.files }, (_, i) => ({
      path: `churn/${i % 7}/file-${i}`,
      base64: churnFile(i, 0, churn.bytes).toString('base64'),
    }));
    const { after, server } = await start(t, entries, { cache });
    const readers = [new Python(after), new Python(after)];
    const stop = path.join(await temporaryDirectory(after), 'stop');
    const outcome = Promise.all(
      readers.map((py) =>
        py.run<{ reads: number; bad: string[]; newest: number }>(`
reads, bad, newest, contents = 0, [], 0, {}
while not os.path.exists(${JSON.stringify(stop)}):
    for i in range(${churn.files}):
        path = ${JSON.stringify(server.mountpoint)} + "/churn/%d/file-%d" % (i % 7, i)
        fd = opened(path)
        st = os.fstat(fd)
        ways = [os.pread(fd, 20000, 0), bytes(mapped(fd)[:]), sent(fd, 20000)]
        again = os.fstat(fd)
        os.close(fd)
        head = ways[0].split(b"\\n")[0].split()
        if len(set(ways)) != 1: bad.append("ways differ " + path)
        if len(ways[0]) != st.st_size or st.st_size != again.st_size or st.st_ino != again.st_ino: bad.append("size " + path)
        if int(head[0]) != i: bad.append("another file " + path)
        if contents.setdefault(st.st_ino, sha(ways[0])) != sha(ways[0]): bad.append("one inode, two contents " + path)
        newest = max(newest, int(head[1]))
        reads += 1
out = {"reads": reads, "bad": bad[:5], "newest": newest}`),
      ),
    );
    outcome.catch(() => undefined);
    await server.churn(churn);
    await fs.writeFile(stop, '');
    for (const { reads, bad, newest } of await outcome) {
      assert.deepEqual(bad, []);
      assert.ok(reads > 100 && newest > 30, `${reads} reads up to ${newest}`);
    }
  });
}

test('a listing, the attributes and the negative names of a changed directory are right after each rotation', async (t) => {
  const { server } = await start(t, [file('d/a', '1'), file('d/sub/x', '1')]);
  const look = async () => {
    const { mtimeMs, ino, nlink } = await fs.stat(server.path('d'));
    return { names: (await fs.readdir(server.path('d'))).sort(), mtimeMs, ino, nlink };
  };
  let before = await look();
  assert.deepEqual([before.names, before.nlink], [['a', 'sub'], 3]);
  for (const [names, nlink] of [
    [['b', 'sub'], 3],
    [['b', 'more', 'sub'], 4],
    [['a', 'b'], 2],
  ] as const) {
    const entries = names.map((name) =>
      name.length > 1 ? file(`d/${name}/x`, '1') : file(`d/${name}`, '1'),
    );
    await server.activate({ entries });
    const now = await look();
    assert.deepEqual([now.names, now.nlink, now.ino], [names, nlink, before.ino]);
    assert.ok(now.mtimeMs > before.mtimeMs);
    for (const name of ['a', 'b', 'more', 'sub']) {
      const there = await fs.stat(server.path(`d/${name}`)).then(
        () => true,
        () => false,
      );
      assert.equal(there, (names as readonly string[]).includes(name), name);
    }
    before = now;
  }
});

// --- inotify

test('inotify: a changed file is MOVED_TO in its directory, and ATTRIB and DELETE_SELF for its own watcher', async (t) => {
  const { after, server } = await start(t, [
    file('d/f', 'old'),
    file('d/same', 'same'),
    file('other/x', 'x'),
  ]);
  const root = await Events.of(after, [server.mountpoint]);
  const d = await Events.of(after, [server.path('d')]);
  const f = await Events.of(after, [server.path('d/f')]);
  const same = await Events.of(after, [server.path('d/same'), server.path('other'), server.path('other/x')]);
  await server.activate({ entries: [file('d/f', 'new'), file('d/same', 'same'), file('other/x', 'x')] });
  assert.deepEqual(await d.take(1), [`MOVED_TO ${server.path('d/f')}`]);
  assert.deepEqual(await f.take(2), [`ATTRIB ${server.path('d/f')}`, `DELETE_SELF ${server.path('d/f')}`]);
  for (const quiet of [root, d, f, same]) assert.deepEqual(await quiet.rest(), []);
});

test('inotify: removed is DELETE, added is MOVED_TO, files and directories; unchanged is nothing', async (t) => {
  const { after, server } = await start(t, [file('d/gone', '1'), file('d/same', '1'), file('d/old/x', '1')]);
  const all = await Events.of(after, [server.path('d'), server.mountpoint]);
  const old = await Events.of(after, [server.path('d/old')]);
  const gone = await Events.of(after, [server.path('d/gone')]);
  const same = await Events.of(after, [server.path('d/same')]);
  await server.activate({
    entries: [file('d/same', '1'), file('d/new', '1'), file('d/fresh/y', '1'), file('top', '1')],
  });
  assert.deepEqual((await all.take(5)).sort(), [
    `DELETE ${server.path('d/gone')}`,
    `DELETE,ISDIR ${server.path('d/old')}`,
    `MOVED_TO ${server.path('d/new')}`,
    `MOVED_TO ${server.path('top')}`,
    `MOVED_TO,ISDIR ${server.path('d/fresh')}`,
  ]);
  assert.deepEqual(await old.take(2), [
    `DELETE ${server.path('d/old/x')}`,
    `DELETE_SELF ${server.path('d/old')}/`,
  ]);
  assert.deepEqual(await gone.take(2), [
    `ATTRIB ${server.path('d/gone')}`,
    `DELETE_SELF ${server.path('d/gone')}`,
  ]);
  for (const quiet of [all, same]) assert.deepEqual(await quiet.rest(), []);
});

test('inotify: a watcher that sets its watch again sees each of three rotations, one on the directory too', async (t) => {
  const { after, server } = await start(t, [file('d/f', '0')]);
  const name = server.path('d/f');
  const seen: string[] = [];
  let watcher: ReturnType<typeof watch> | undefined;
  const rewatch = () => {
    watcher?.close();
    watcher = watch(name, (event) => {
      if (event !== 'rename') return;
      rewatch();
      void fs.readFile(name, 'utf8').then((text) => seen.push(text));
    });
  };
  rewatch();
  after(async () => watcher?.close());
  const d = await Events.of(after, [server.path('d')]);
  for (let i = 1; i <= 3; i++) {
    await server.activate({ entries: [file('d/f', `${i}`)] });
    await until(`rotation ${i} is seen`, async () => seen.at(-1) === `${i}`);
    assert.deepEqual(await d.take(1), [`MOVED_TO ${name}`]);
  }
  assert.deepEqual(await d.rest(), []);
});

test('inotify: a name that somebody looked up anew before the event came is MOVED_TO all the same', async (t) => {
  const { after, server } = await start(t, [file('d/f', '0')]);
  const py = new Python(after);
  // A second process opens the name as fast as it can: it often sees the new file before the kernel was told.
  const stop = path.join(await temporaryDirectory(after), 'stop');
  const reading = py.run(`
while not os.path.exists(${JSON.stringify(stop)}):
    try: content(${JSON.stringify(server.path('d/f'))})
    except OSError as e:
        # Two rotations within one open: docs/semantics.md.
        if e.errno != errno.ESTALE: raise`);
  reading.catch(() => undefined);
  const d = await Events.of(after, [server.path('d')]);
  for (let i = 1; i <= 20; i++) {
    await server.activate({ entries: [file('d/f', `${i}`)] });
    assert.deepEqual(await d.take(1), [`MOVED_TO ${server.path('d/f')}`], `rotation ${i}`);
  }
  await fs.writeFile(stop, '');
  await reading;
});

// --- nothing of ours is seen

async function tokenOf(server: Server): Promise<string> {
  const pid = (await server.state()).processes.find(({ role }) => role === 'server')?.pid;
  const control = await fs.readFile(`/proc/${pid}/fd/4/control`);
  return control.subarray(90 * 4, 90 * 4 + 16).toString('hex');
}

test('the staging directory is in no listing, and nobody finds it but root with the token', async (t) => {
  const after = cleanups(t);
  const entries = [
    { ...file('d/f', '1'), mode: 0o644 },
    { path: 'd/', mode: 0o755 },
  ];
  const server = await serve({ entries, preserve: true }, after, DRIVER);
  const token = await tokenOf(server);
  const staging = server.path(token);
  const { ino } = await fs.stat(server.path('d/f'));
  // Root with the token: that it is there is what makes the rest of this test mean something.
  const seen = await fs.stat(staging);
  assert.deepEqual([seen.mode, seen.uid, seen.size], [0o040700, 0, 0]);
  assert.equal((await fs.stat(`${staging}/${ino}`)).ino, ino);
  await failsWith('EACCES', fs.readdir(staging));

  for (const round of [1, 2]) {
    assert.deepEqual(await fs.readdir(server.mountpoint), ['d']);
    assert.equal(await sh('cd "$1" && find . | sort | tr "\\n" " "', server.mountpoint), '. ./d ./d/f');
    for (const wrong of [
      '0'.repeat(32),
      token.slice(1),
      `${token}0`,
      token.toUpperCase().replace(/^\d+$/, 'X'),
    ])
      await failsWith('ENOENT', fs.stat(server.path(wrong)));
    await failsWith('ENOENT', fs.stat(server.path(`d/${token}`)));
    const other = ['--reuid', '4000', '--regid', '4000', '--clear-groups', '--'];
    assert.equal((await exec('setpriv', [...other, 'cat', server.path('d/f')])).stdout, `${round}`);
    await assert.rejects(exec('setpriv', [...other, 'stat', staging]), /No such file/);
    await assert.rejects(exec('setpriv', [...other, 'stat', `${staging}/${ino}`]), /No such file/);
    // Root with every capability but its uid is not root.
    await assert.rejects(exec('setpriv', ['--reuid', '4000', '--inh-caps=-all', '--', 'stat', staging]));
    if (round === 1)
      await server.activate({
        entries: [
          { ...file('d/f', '2'), mode: 0o644 },
          { path: 'd/', mode: 0o755 },
        ],
        preserve: true,
      });
  }
});

test('root with the token and a writable view can change nothing but what is so already', async (t) => {
  const { after, server } = await start(t, [file('d/f', '1'), file('d/g', '2')]);
  const view = await temporaryDirectory(after);
  await exec('mount', ['--bind', server.mountpoint, view]);
  await exec('mount', ['-i', '-o', 'remount,bind,rw', view]);
  const token = await tokenOf(server);
  const inoOf = async (name: string) => (await fs.stat(server.path(name))).ino;
  const [f, g] = [await inoOf('d/f'), await inoOf('d/g')];
  const alias = (ino: number) => path.join(view, token, `${ino}`);
  const at = (name: string) => path.join(view, name);
  await failsWith('EROFS', fs.rename(alias(f), at('d/g')));
  await failsWith('EROFS', fs.rename(alias(g), at('d/new')));
  await failsWith('EROFS', fs.rename(at('d/f'), at('d/g')));
  await failsWith('EROFS', fs.rename(at('d/f'), alias(f)));
  await failsWith('EROFS', fs.link(alias(f), at('d/h')));
  await failsWith('EROFS', fs.writeFile(path.join(view, token, 'new'), 'x'));
  await failsWith('EROFS', fs.writeFile(alias(f), 'x'));
  await failsWith('EROFS', fs.unlink(alias(f)));
  // What the prober does: nothing is different afterwards.
  await fs.rmdir(path.join(view, token));
  assert.ok((await fs.stat(server.path(token))).isDirectory());
  await fs.rename(alias(f), at('d/f'));
  assert.equal(await fs.readFile(server.path('d/f'), 'utf8'), '1');
  assert.deepEqual([await inoOf('d/f'), await inoOf('d/g')], [f, g]);
  assert.deepEqual((await fs.readdir(server.path('d'))).sort(), ['f', 'g']);
});

// --- changes

test('rm, touch, mv, chmod, mkdir and ln of root fail with EROFS, also after remount,rw and through a writable bind mount', async (t) => {
  const { after, server } = await start(t, [file('d/f', 'x'), file('d/g', 'y')]);
  const bound = await temporaryDirectory(after);
  const refusals = async (at: string) => {
    for (const command of [
      'rm -f f',
      'rm -rf .. ../d',
      'touch f',
      'touch new',
      'mv f g',
      'mv f new',
      'chmod 777 f',
      'chown 1:1 f',
      'mkdir new',
      'ln f new',
      'ln -s f new',
      'truncate -s 0 f',
      'cp g f',
      'dd if=/dev/zero of=f bs=1 count=1 conv=notrunc',
      'fallocate -l 10 f',
      'mknod new p',
    ])
      await assert.rejects(
        exec('sh', ['-c', `cd "$1/d" && LC_ALL=C ${command}`, 'sh', at]),
        /Read-only file system|refusing to remove/,
        `${command} at ${at}`,
      );
    assert.equal(await sh('cat "$1"/d/f "$1"/d/g', at), 'xy');
  };
  await refusals(server.mountpoint);
  await exec('mount', ['--bind', server.mountpoint, bound]);
  await exec('mount', ['-i', '-o', 'remount,bind,rw', bound]);
  await refusals(bound);
  await exec('mount', ['-i', '-o', 'remount,bind,rw', server.mountpoint]);
  const mounts = await fs.readFile('/proc/self/mountinfo', 'utf8');
  const options = mounts
    .split('\n')
    .find((line) => line.includes(` ${server.mountpoint} `))
    ?.split(' ')[5];
  assert.ok(options?.startsWith('rw,'), `it is really writable for the VFS: ${options}`);
  await refusals(server.mountpoint);
});

// --- seen from elsewhere

test('a directory that is bind-mounted follows the rotations', async (t) => {
  const entries = [file('d/f', '0'), file('d/sub/x', '0')];
  const { after, server } = await start(t, entries);
  const bound = await temporaryDirectory(after);
  await exec('mount', ['--bind', server.path('d'), bound]);
  for (let i = 1; i <= 3; i++) {
    await server.activate({ entries: [file('d/f', `${i}`), file(`d/sub/x${i}`, `${i}`)] });
    assert.equal(await fs.readFile(path.join(bound, 'f'), 'utf8'), `${i}`);
    assert.deepEqual(await fs.readdir(path.join(bound, 'sub')), [`x${i}`]);
  }
});

for (const cache of ['page', 'none'] as const) {
  test(`a single file that is bind-mounted gives each new open the live content, and the old to who has it open (--cache ${cache})`, async (t) => {
    const { after, server } = await start(t, [file('d/f', 'old')], { cache });
    const target = path.join(await temporaryDirectory(after), 'f');
    await fs.writeFile(target, '');
    await exec('mount', ['--bind', server.path('d/f'), target]);
    const handle = await fs.open(target);
    try {
      for (const text of ['new and longer', 'n', '']) {
        await server.activate({ entries: [file('d/f', text)] });
        for (let i = 0; i < 3; i++) assert.equal(await sh('cat "$1"', target), text);
        assert.equal(await fs.readFile(server.path('d/f'), 'utf8'), text);
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(99), 0, 99, 0);
        assert.equal(buffer.toString('utf8', 0, bytesRead), 'old');
      }
    } finally {
      await handle.close();
    }
    await server.activate({ entries: [file('d/g', 'other')] });
    await assert.rejects(sh('cat "$1"', target), /Stale file handle/);
  });
}

test('limit: through a single file that is bind-mounted, stat shows the old file after a rotation', async (t) => {
  const { after, server } = await start(t, [file('d/f', 'old')]);
  const target = path.join(await temporaryDirectory(after), 'f');
  await fs.writeFile(target, '');
  await exec('mount', ['--bind', server.path('d/f'), target]);
  const before = await fs.stat(target);
  await server.activate({ entries: [file('d/f', 'new and longer')] });
  const now = await fs.stat(target);
  assert.deepEqual([now.ino, now.size, now.nlink], [before.ino, 3, 0]);
  assert.equal(await fs.readFile(server.path('d/f'), 'utf8'), 'new and longer');
  // Until the superseded generation is let go of by force: then nobody knows any more what stood where.
  server.send('retire');
  await server.next('done');
  await assert.rejects(sh('cat "$1"', target), /Stale file handle/);
});

test('/proc/PID/fd/N of an old descriptor opens the live content', async (t) => {
  const { after, server } = await start(t, [file('f', 'old')]);
  const py = new Python(after);
  await py.run(`fd = opened(${JSON.stringify(server.path('f'))})`);
  await server.activate({ entries: [file('f', 'new')] });
  assert.equal(await py.run('out = open("/proc/self/fd/%d" % fd).read()'), 'new');
  assert.equal(await py.run('out = os.pread(fd, 99, 0).decode()'), 'old');
});

test('a mount namespace made later follows the rotations, slave or private, and sees nothing once it is unmounted', async (t) => {
  const { after, server } = await start(t, [file('d/f', '0'), file('d/unread', 'never read')]);
  const slave = await container(after, 'slave');
  const own = await container(after, 'private');
  const name = JSON.stringify(server.path('d/f'));
  for (let i = 1; i <= 3; i++) {
    await server.activate({ entries: [file('d/f', `${i}`), file('d/unread', 'never read')] });
    for (const { python } of [slave, own])
      assert.equal(await python.run(`out = open(${name}).read()`), `${i}`);
  }
  server.send('unmount');
  await server.next('unmounted');
  for (const each of ['f', 'unread'])
    await assert.rejects(own.python.run(`out = open(${JSON.stringify(server.path(`d/${each}`))}).read()`));
});

test('a container that was there before sees the mount if it is its slave, read-only, and not if it is private', async (t) => {
  const after = cleanups(t);
  const shared = await temporaryDirectory(after);
  await exec('mount', ['-t', 'tmpfs', 'shared', shared]);
  await exec('mount', ['--make-rshared', shared]);
  const mountpoint = path.join(shared, 'm');
  await fs.mkdir(mountpoint);
  const slave = await container(after, 'slave');
  const own = await container(after, 'private');
  const server = await serve({ entries: [file('d/f', '0')] }, after, { ...DRIVER, mountpoint });
  await server.activate({ entries: [file('d/f', '1')] });
  const name = JSON.stringify(server.path('d/f'));
  assert.equal(await slave.python.run(`out = open(${name}).read()`), '1');
  await assert.rejects(own.python.run(`open(${name})`), { code: 'ENOENT' });
  const table = await slave.python.run<string>('out = open("/proc/self/mountinfo").read()');
  const options = table
    .split('\n')
    .find((line) => line.includes(` ${mountpoint} `))
    ?.split(' ')[5];
  for (const option of ['ro', 'nosuid', 'nodev', 'noexec'])
    assert.ok(options?.split(',').includes(option), `${option}: ${options}`);
  server.send('unmount');
  await server.next('unmounted');
  await assert.rejects(slave.python.run(`open(${name})`), { code: 'ENOENT' });
});

// --- tools and numbers

test('rsync, tar, cp -a and find copy and list all of it, while it rotates too', async (t) => {
  const entries = (n: number): SpecEntry[] => [
    ...Array.from({ length: 50 }, (_, i) => file(`a/b${i % 5}/f${i}`, i % 3 === 0 ? `${n}` : `same ${i}`)),
    { path: 'link', target: 'a/b0/f0' },
    { path: 'hollow/', mode: 0o755 },
  ];
  const { after, server } = await start(t, entries(0));
  const copies = await temporaryDirectory(after);
  let n = 0;
  let over = false;
  const rotating = (async () => {
    while (!over) {
      n += 1;
      await server.activate({ entries: entries(n) });
      await sleep(5);
    }
  })();
  rotating.catch(() => undefined);
  try {
    for (let round = 0; round < 5; round++) {
      const to = path.join(copies, `${round}`);
      await fs.mkdir(to);
      await exec('rsync', ['-a', `${server.mountpoint}/`, `${to}/rsync/`]);
      // cp looks at a file, opens it and compares: one that was replaced in between it leaves out, and says so.
      const { stderr } = await exec('cp', ['-a', server.mountpoint, `${to}/cp`]).catch((error) => error);
      const skipped = stderr.split('\n').filter((line: string) => line !== '');
      for (const line of skipped) assert.match(line, /skipping file .* replaced while being copied/);
      await sh('mkdir "$2/tar"; tar -C "$1" -cf - . | tar -C "$2/tar" -xf -', server.mountpoint, to);
      const count = await sh('find "$1" -type f | wc -l', server.mountpoint);
      assert.equal(count, '50');
      for (const [tool, left] of [
        ['rsync', 0],
        ['cp', skipped.length],
        ['tar', 0],
      ] as const) {
        const copied = await sh('find "$1" -type f -size +0 | wc -l', path.join(to, tool));
        assert.equal(Number(copied) + left, 50, tool);
      }
    }
  } finally {
    over = true;
    await rotating;
  }
  assert.ok(n > 5);
  await exec('rsync', ['-a', '--delete', '--checksum', `${server.mountpoint}/`, `${copies}/last/`]);
  await exec('diff', ['-r', '--no-dereference', server.mountpoint, `${copies}/last`]);
});

test('100,000 entries in one directory are listed, found and rotated', async (t) => {
  const count = 100_000;
  const entries = (changed: string) =>
    Array.from({ length: count }, (_, i) => file(`d/${i}`, i === 4711 ? changed : ''));
  const { after, server } = await start(t, entries('old'));
  const d = JSON.stringify(server.path('d'));
  const py = new Python(after);
  assert.equal(await py.run(`out = len(set(os.listdir(${d})))`), count);
  assert.equal(await py.run(`out = len({e.inode() for e in os.scandir(${d}) if e.is_file()})`), count);
  assert.equal(await sh('find "$1" -type f | wc -l', server.path('d')), `${count}`);
  await server.activate({ entries: entries('new') });
  assert.equal(await fs.readFile(server.path('d/4711'), 'utf8'), 'new');
  assert.equal(await py.run(`out = len(set(os.listdir(${d})))`), count);
});

test('a file of more than 4 GiB is read and sought beyond 4 GiB', async (t) => {
  const bytes = 5 * 2 ** 30 + 3;
  const marks: [number, string][] = [
    [0, 'begin'],
    [2 ** 32 - 3, 'across'],
    [5 * 2 ** 30 - 2, 'end..'],
  ];
  const { after, server } = await start(t, [{ path: 'big', sparse: { bytes, marks } }]);
  assert.equal((await fs.stat(server.path('big'))).size, bytes);
  const py = new Python(after);
  await py.run(`fd = opened(${JSON.stringify(server.path('big'))})`);
  for (const [offset, text] of marks) {
    assert.equal(await py.run(`out = os.pread(fd, ${text.length}, ${offset}).decode()`), text);
    const mapped = `m = mmap.mmap(fd, 8192, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ, offset=${offset - (offset % PAGE_BYTES)})`;
    if (offset < 5 * 2 ** 30 - PAGE_BYTES)
      assert.equal(
        await py.run(`${mapped}; out = m[${offset % PAGE_BYTES}:][:${text.length}].decode()`),
        text,
      );
  }
  assert.equal(
    await py.run(`os.lseek(fd, ${2 ** 32 - 3}, os.SEEK_SET); out = os.read(fd, 6).decode()`),
    'across',
  );
  assert.equal(await py.run(`out = os.lseek(fd, -5, os.SEEK_END)`), bytes - 5);
  assert.equal(await py.run(`out = os.lseek(fd, ${2 ** 32 + 1}, os.SEEK_DATA)`), 2 ** 32 + 1);
  assert.equal(await py.run(`out = os.lseek(fd, ${2 ** 32 + 1}, os.SEEK_HOLE)`), bytes);
  await assert.rejects(py.run(`os.lseek(fd, ${bytes}, os.SEEK_DATA)`), { code: 'ENXIO' });
  assert.equal(await py.run(`out = len(os.pread(fd, 100, ${bytes + 10}))`), 0);
});

test('overlayfs on top: its upper layer takes the changes; limit: a changed file that it has seen may be ESTALE until it is mounted again', async (t) => {
  const { after, server } = await start(t, [file('d/f', 'old'), file('d/same', 'same'), file('d/gone', '1')]);
  const upper = await temporaryDirectory(after);
  await exec('mount', ['-t', 'tmpfs', 'upper', upper]);
  const merged = path.join(upper, 'merged');
  await sh('mkdir "$1"/u "$1"/w "$1"/merged', upper);
  await exec('mount', [
    ...['-t', 'overlay', 'overlay', '-o'],
    `lowerdir=${server.mountpoint},upperdir=${upper}/u,workdir=${upper}/w`,
    merged,
  ]);
  assert.equal(await sh('cat "$1"/d/f', merged), 'old');
  await fs.writeFile(path.join(merged, 'd/own'), 'own');
  await fs.writeFile(path.join(merged, 'd/same'), 'changed above');
  assert.equal(await fs.readFile(server.path('d/same'), 'utf8'), 'same');
  const handle = await fs.open(path.join(merged, 'd/f'));
  try {
    await server.activate({
      entries: [file('d/f', 'new'), file('d/same', 'same, again'), file('d/added', 'added')],
    });
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(9), 0, 9, 0);
    assert.equal(buffer.toString('utf8', 0, bytesRead), 'old');
  } finally {
    await handle.close();
  }
  const seen = async (name: string) => sh('cat "$1" 2>&1 || true', path.join(merged, name));
  assert.equal(await seen('d/added'), 'added');
  assert.equal(await seen('d/own'), 'own');
  // It may keep the names that it has seen, which lead to old inodes then.
  assert.match(await seen('d/f'), /^new$|Stale file handle/);
  await exec('umount', [merged]);
  await exec('mount', [
    ...['-t', 'overlay', 'overlay', '-o'],
    `lowerdir=${server.mountpoint},upperdir=${upper}/u,workdir=${upper}/w`,
    merged,
  ]);
  assert.equal(await seen('d/f'), 'new');
  assert.equal(await seen('d/same'), 'changed above');
  assert.match(await seen('d/gone'), /No such file/);
});
