/** What is peculiar to the fuse-native driver: memory, rootless use, and the limits that docs/semantics.md states. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import * as fs from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { REPOSITORY } from '../support/paths.ts';
import { scanMemory } from '../support/scan.ts';
import { patternBytes } from '../support/serve.ts';
import { cleanups, exec, type Server, type State, serve, temporaryDirectory } from '../support/server.ts';

const seed = () => Math.floor(Math.random() * 2 ** 31);

/** Reads through small and large buffers, several at a time, so that every path of libfuse's has held the bytes. */
async function readAllWays(file: string): Promise<void> {
  for (const length of [131_072, 4096, 2000]) {
    for (let round = 0; round < 5; round++) {
      await Promise.all(
        Array.from({ length: 6 }, async () => {
          const handle = await fs.open(file);
          const buffer = Buffer.alloc(length);
          for (let at = 0; (await handle.read(buffer, 0, length, at)).bytesRead > 0; at += length);
          await handle.close();
        }),
      );
    }
  }
}

async function retireEverything(server: Server): Promise<void> {
  await server.activate({ entries: [] });
  const isSettled = ({ bytes, imageBytes }: State) => bytes === imageBytes;
  for (let i = 0; i < 100 && !isSettled(await server.state()); i++) await sleep(20);
  assert.ok(isSettled(await server.state()));
}

test('contents are in locked memory, left out of dumps and children, and nowhere else in the process', async (t) => {
  const shape = { bytes: 200_000, seed: seed() };
  const server = await serve({ entries: [{ path: 'f', pattern: shape }] }, cleanups(t));
  const canary = patternBytes(shape).subarray(70_000, 70_064);
  await readAllWays(server.path('f'));
  const hits = scanMemory(server.pid, canary);
  assert.equal(hits.length, 1, JSON.stringify(hits));
  for (const flag of ['lo', 'dd', 'wf']) assert.ok(hits[0]?.flags.includes(flag), flag);
  const status = await fs.readFile(`/proc/${server.pid}/status`, 'utf8');
  assert.ok(Number(/VmLck:\s+(\d+)/.exec(status)?.[1]) * 1024 >= shape.bytes);
});

test('after retirement no copy is left in the process; while it was live, the same scan finds it', async (t) => {
  const shape = { bytes: 200_000, seed: seed() };
  const server = await serve({ entries: [{ path: 'f', pattern: shape }] }, cleanups(t));
  const canary = patternBytes(shape).subarray(70_000, 70_064);
  await readAllWays(server.path('f'));
  assert.equal(scanMemory(server.pid, canary).length, 1, 'positive control');
  await retireEverything(server);
  assert.deepEqual(scanMemory(server.pid, canary), []);
});

test('what is left of reads under 1,033 bytes is gone too when glibc is told to keep no thread caches', async (t) => {
  const shape = { bytes: 500, seed: seed() };
  const canary = patternBytes(shape).subarray(100, 164);
  const left: number[] = [];
  for (const tunables of [undefined, 'glibc.malloc.tcache_count=0']) {
    const env = tunables === undefined ? {} : { GLIBC_TUNABLES: tunables };
    const server = await serve({ entries: [{ path: 'f', pattern: shape }] }, cleanups(t), { env });
    for (let i = 0; i < 20; i++) await fs.readFile(server.path('f'));
    assert.ok(scanMemory(server.pid, canary).length >= 1, 'positive control');
    await retireEverything(server);
    left.push(scanMemory(server.pid, canary).length);
  }
  assert.ok((left[0] ?? 0) > 0, 'without the tunable copies are left: the scan would see them');
  assert.equal(left[1], 0);
});

test('memory is given back and addresses are reused over 300 generations', async (t) => {
  const server = await serve(
    { entries: [{ path: 'f', pattern: { bytes: 1_000_000, seed: 0 } }] },
    cleanups(t),
  );
  const figure = async (name: string) =>
    Number(
      new RegExp(`${name}:\\s+(\\d+)`).exec(await fs.readFile(`/proc/${server.pid}/status`, 'utf8'))?.[1],
    );
  const settle = async () => {
    server.send('gc');
    await server.next('collected');
    await sleep(50);
    return { size: await figure('VmSize'), locked: await figure('VmLck') };
  };
  for (let i = 1; i <= 20; i++)
    await server.activate({ entries: [{ path: 'f', pattern: { bytes: 1_000_000, seed: i } }] });
  const before = await settle();
  for (let i = 21; i <= 320; i++)
    await server.activate({ entries: [{ path: 'f', pattern: { bytes: 1_000_000, seed: i } }] });
  const now = await settle();
  assert.equal(now.locked, before.locked);
  assert.ok(
    now.size - before.size < 60_000,
    `grew ${now.size - before.size} kB; 300 generations are 293,000 kB`,
  );
});

test('64 readers at a time are served, again and again, and no handle is left over', async (t) => {
  const shape = { bytes: 50_000, seed: 3 };
  const server = await serve({ entries: [{ path: 'd/f', pattern: shape }] }, cleanups(t));
  // A process of its own: Node's thread pool is four threads.
  const script = `import sys,threading,hashlib
bad=[]
def work():
    for _ in range(20):
        if hashlib.sha256(open(sys.argv[1],'rb',buffering=0).read()).hexdigest() != sys.argv[2]: bad.append(1)
ts=[threading.Thread(target=work) for _ in range(64)]
[x.start() for x in ts]; [x.join() for x in ts]
print(len(bad))`;
  const { createHash } = await import('node:crypto');
  const want = createHash('sha256').update(patternBytes(shape)).digest('hex');
  assert.equal((await exec('python3', ['-c', script, server.path('d/f'), want])).stdout.trim(), '0');
  for (let i = 0; i < 50 && (await server.state()).handles > 0; i++) await sleep(20);
  assert.equal((await server.state()).handles, 0);
});

/** nobody: fusermount wants a user that /etc/passwd knows. */
const uid = 65534;

/** udev's mode for it, which a machine without udev (this test's, a container) may not have. */
async function openDevice(after: (cleanup: () => Promise<void>) => void): Promise<void> {
  const { mode } = await fs.stat('/dev/fuse');
  if ((mode & 0o777) === 0o666) return;
  await fs.chmod('/dev/fuse', 0o666);
  after(() => fs.chmod('/dev/fuse', mode & 0o777));
}

test('without root: mounted through fusermount, owned by the user, closed to everybody else', async (t) => {
  const after = cleanups(t);
  await openDevice(after);
  const server = await serve({ entries: [{ path: 'd/f', text: 'mine' }] }, after, { uid });
  const mounts = await fs.readFile('/proc/self/mountinfo', 'utf8');
  const line = mounts.split('\n').find((each) => each.includes(` ${server.mountpoint} `)) ?? '';
  assert.ok(line.includes('fuse.secretsfs') && line.includes(`user_id=${uid}`), line);
  assert.ok(line.includes('default_permissions') && !line.includes('allow_other'), line);
  const user = ['--reuid', `${uid}`, '--regid', `${uid}`, '--clear-groups', '--'];
  assert.equal((await exec('setpriv', [...user, 'cat', server.path('d/f')])).stdout, 'mine');
  const { stdout } = await exec('setpriv', [...user, 'stat', '-c', '%u %g %a', server.path('d/f')]);
  assert.equal(stdout.trim(), `${uid} ${uid} 600`);
  await assert.rejects(fs.readFile(server.path('d/f')), { code: 'EACCES' }, 'root itself');
  server.send('unmount');
  await server.next('unmounted');
  assert.equal((await server.state()).mounted, false);
});

test('without root a dead mount is cleared too', async (t) => {
  const after = cleanups(t);
  await openDevice(after);
  const mountpoint = await temporaryDirectory(after, uid);
  const first = await serve({ entries: [] }, after, { mountpoint, uid });
  await first.kill();
  const second = await serve({ entries: [{ path: 'f', text: '' }] }, after, { mountpoint, uid });
  assert.equal(JSON.parse((second.lines[0] ?? '').replace('ready ', '')).cleared.length, 1);
});

test('a mountpoint whose live server does not answer is busy, found out in bounded time', async (t) => {
  const after = cleanups(t);
  const mountpoint = await temporaryDirectory(after);
  const stopped = await serve({ entries: [] }, after, { mountpoint });
  stopped.child.kill('SIGSTOP');
  await assert.rejects(
    serve({ entries: [] }, after, { mountpoint }),
    /error mountpoint-busy .*does not answer/,
  );
  stopped.child.kill('SIGCONT');
});

test('a missing libfuse2 is named, with the package to install', async () => {
  const libraries = (await exec('ldconfig', ['-p'])).stdout;
  const libfuse = /libfuse\.so\.2 .*=> (\S+)/.exec(libraries)?.[1];
  assert.ok(libfuse, 'libfuse2 is not installed');
  const module = path.join(REPOSITORY, 'build/src/fuse/native.js');
  const script = `import(${JSON.stringify(module)}).then((m)=>m.loadDriver()).catch((e)=>console.log(JSON.stringify([e.code,e.message,e.hint])))`;
  const hide = 'mount --bind /dev/null "$1" && exec "$2" -e "$3"';
  const { stdout } = await exec('unshare', [
    '-m',
    'sh',
    '-c',
    hide,
    'sh',
    await fs.realpath(libfuse),
    process.execPath,
    script,
  ]);
  const [code, message, hint] = JSON.parse(stdout);
  assert.equal(code, 'driver-missing');
  assert.match(message, /libfuse\.so\.2/);
  assert.match(hint, /apt install libfuse2 fuse3/);
});

// The limits of libfuse 2's path interface. They are tested so that docs/semantics.md stays true, not because they
// are wanted: the kernel sees one inode for a path, whatever it holds.

/** A Python process that evaluates lines against two file descriptors, `old` and `new`, of one path. */
class Reader {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(t: TestContext, file: string) {
    const script = `import os,sys,mmap
p=sys.argv[1]
def mapped(fd): return mmap.mmap(fd,0,flags=mmap.MAP_PRIVATE,prot=mmap.PROT_READ)
def sent(fd,n=100):
    out=os.memfd_create('x'); os.sendfile(out,fd,0,n); return os.pread(out,n,0)
for line in sys.stdin:
    line=line.strip()
    if '=' in line and '(' in line and line.split('=')[0].isidentifier(): exec(line); print('ok',flush=True)
    else: print(eval(line),flush=True)`;
    this.#child = spawn('python3', ['-c', script, file], { stdio: ['pipe', 'pipe', 'inherit'] });
    t.after(() => this.#child.kill('SIGKILL'));
    if (this.#child.stdout === null) throw new Error('no stdout');
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async ask(line: string): Promise<string> {
    this.#child.stdin?.write(`${line}\n`);
    return (await this.#lines.next()).value ?? 'ended';
  }
}

async function rotated(
  t: TestContext,
  before: string,
  after: string,
  prepare: string[] = [],
): Promise<Reader> {
  const server = await serve({ entries: [{ path: 'f', text: before }] }, cleanups(t));
  const reader = new Reader(t, server.path('f'));
  await reader.ask('old=os.open(p,os.O_RDONLY)');
  for (const line of prepare) await reader.ask(line);
  await server.activate({ entries: [{ path: 'f', text: after }] });
  return reader;
}

test('limit: read on an old descriptor gives the old bytes, but fstat on it describes the new file', async (t) => {
  const reader = await rotated(t, 'old content', 'new');
  assert.equal(await reader.ask('os.fstat(old).st_size'), '3');
  assert.equal(await reader.ask('os.fstat(old).st_ino == os.stat(p).st_ino'), 'True');
  assert.equal(await reader.ask('os.pread(old,100,0)'), "b'old content'");
  assert.equal(await reader.ask('os.pread(old,100,4)'), "b'content'");
});

test('a mapping and sendfile of a descriptor opened after the activation give the new bytes', async (t) => {
  const reader = await rotated(t, 'old content', 'new content', [
    'm=mapped(old)',
    'x=(m[:],)',
    'y=(sent(old),)',
  ]);
  await reader.ask('new=os.open(p,os.O_RDONLY)');
  assert.equal(await reader.ask('sent(new)'), "b'new content'");
  assert.equal(await reader.ask('mapped(new)[:]'), "b'new content'");
  assert.equal(await reader.ask('os.pread(new,100,0)'), "b'new content'");
});

test('limit: an old mapping may change under its reader once somebody opens the new file', async (t) => {
  const reader = await rotated(t, 'old content', 'new content', ['m=mapped(old)', 'x=(m[:],)']);
  assert.equal(await reader.ask('m[:]'), "b'old content'");
  await reader.ask('new=os.open(p,os.O_RDONLY)');
  await reader.ask('y=(sent(new),)');
  assert.equal(await reader.ask('m[:]'), "b'new content'");
});

test('limit: sendfile and mappings share pages across descriptors of one path, old or new; read does not', async (t) => {
  const reader = await rotated(t, 'old content', 'new content');
  await reader.ask('new=os.open(p,os.O_RDONLY)');
  assert.equal(await reader.ask('sent(old)'), "b'old content'");
  assert.equal(await reader.ask('sent(new)'), "b'old content'");
  assert.equal(await reader.ask('os.pread(new,100,0)'), "b'new content'");
  await reader.ask('again=os.open(p,os.O_RDONLY)');
  assert.equal(await reader.ask('sent(again)'), "b'new content'", 'every open starts with no pages');
});

test('a bug in the server is answered with EIO, and the next request is served', async (t) => {
  const server = await serve({ entries: [{ path: 'f', text: 'x' }] }, cleanups(t));
  const handle = await fs.open(server.path('f'));
  server.send('break');
  await server.next('broken');
  const eio = { code: 'EIO' };
  try {
    await assert.rejects(handle.read(Buffer.alloc(10), 0, 10, 0), eio);
    await assert.rejects(fs.readFile(server.path('f')), eio);
    await assert.rejects(fs.statfs(server.mountpoint), eio);
    await assert.rejects(fs.readdir(server.mountpoint), eio);
  } finally {
    server.send('mend');
    await server.next('mended');
    await handle.close();
  }
  assert.equal(await fs.readFile(server.path('f'), 'utf8'), 'x');
  assert.ok(server.lines.includes('bug read'));
});
