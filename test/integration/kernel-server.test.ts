/**
 * The server as a process of its own, on a real mount, as the supervisor starts it. Whoever reads the mount is another
 * process: this one holds its device, and would wait for itself.
 */
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ArchiveEntry } from '../../src/bundle/archive.ts';
import { type Child, spawnChild } from '../../src/daemon/children.ts';
import { openDevice } from '../../src/fuse/device.ts';
import { negotiate, type Params } from '../../src/fuse/kernel/init.ts';
import { type KernelMount, mountKernel } from '../../src/fuse/kernel/mount.ts';
import { RamfsStore } from '../../src/store/ramfs.ts';
import type { Control } from '../../src/store/shared.ts';
import { directory, file, imageOf, Lineage, nodeAt, symlink } from '../support/entries.ts';
import { cleanups, temporaryDirectory } from '../support/server.ts';
import { patient, SLOWNESS } from '../support/slowness.ts';

const run = promisify(execFile);
const PROCESSES = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../src/processes');
const USER = { uid: 0x70000005, gid: 0x70000005 };
const TIMEOUT_MS = patient(10_000);

interface Options {
  readonly entries?: readonly ArchiveEntry[];
  readonly resend?: boolean;
  readonly policy?: Partial<Control>;
}

/** What the supervisor does, without the supervisor. */
class Served {
  readonly token = randomBytes(16);
  readonly lineage = new Lineage();
  readonly mountpoint: string;
  readonly mount: KernelMount;
  readonly store: RamfsStore;
  control: Control;
  server: Child | undefined;
  readonly #fuseFd: number;
  readonly #pages: number | undefined;

  private constructor(
    mountpoint: string,
    mount: KernelMount,
    fuseFd: number,
    store: RamfsStore,
    params: Params,
    options: Options,
  ) {
    this.mountpoint = mountpoint;
    this.mount = mount;
    this.#fuseFd = fuseFd;
    this.store = store;
    const { minor: fuseMinor, flags, flags2, maxReadBytes } = params;
    this.control = {
      live: 0,
      candidate: 0,
      handOver: false,
      closed: false,
      preserve: true,
      lingering: [],
      ...{ fuseMinor, flags, flags2, maxReadBytes },
      cachePolicy: 'page',
      fastOpen: false,
      consistencyWindowMs: 2000,
      resend: options.resend ?? true,
      token: this.token,
      ...options.policy,
    };
    this.#pages = this.control.cachePolicy === 'none' ? fs.openSync('/dev/null', 'w') : undefined;
  }

  static async start(t: TestContext, options: Options = {}): Promise<Served> {
    const after = cleanups(t);
    const mountpoint = await temporaryDirectory(after);
    const store = RamfsStore.create({ serverUid: USER.uid, serverGid: USER.gid });
    after(async () => store.close());
    const fuseFd = openDevice();
    after(async () => fs.closeSync(fuseFd));
    const { mount, params } = await mountKernel({
      path: mountpoint,
      fuseFd,
      source: 'test',
      negotiate: (request) => negotiate(request, { resend: options.resend ?? true }),
    });
    const served = new Served(mountpoint, mount, fuseFd, store, params, options);
    after(async () => {
      spawnSync('umount', ['-f', '-i', mountpoint], { stdio: 'ignore' });
      served.server?.kill();
      mount.close();
      spawnSync('umount', ['-l', '-i', mountpoint], { stdio: 'ignore' });
    });
    served.activate(
      options.entries ?? [file('f', 'content'), directory('d'), file('d/g'), symlink('l', 'f')],
    );
    return served;
  }

  /** Writes the next generation into the store; `published` is what stands in its file, if it is to be wrong. */
  publish(entries: readonly ArchiveEntry[], published?: (image: Buffer) => Buffer): number {
    const { id } = this.lineage.next(entries, { preserve: true });
    const image = imageOf(this.lineage.plan as NonNullable<Lineage['plan']>);
    const { imageFd, changesFd } = this.store.createCandidate(id);
    fs.writeSync(imageFd, published?.(image) ?? image);
    fs.closeSync(imageFd);
    fs.closeSync(changesFd);
    this.store.publish(id);
    return id;
  }

  write(change: Partial<Control>): number {
    this.control = { ...this.control, ...change };
    return this.store.writeControl(this.control);
  }

  activate(entries: readonly ArchiveEntry[]): void {
    const { live, lingering } = this.control;
    const id = this.publish(entries);
    this.write({ live: id, lingering: live === 0 ? [] : [...lingering, live] });
  }

  spawn(): Child {
    return spawnChild({
      role: 'server',
      script: 'server.js',
      directory: PROCESSES,
      user: USER,
      emptyNetwork: true,
      fds: [
        this.#fuseFd,
        this.store.directoryFd,
        'channel',
        ...(this.#pages === undefined ? [] : [this.#pages]),
      ],
    });
  }

  /** Ready, and told to go. */
  async serve(skip = false): Promise<Child> {
    const child = this.spawn();
    this.server = child;
    assert.deepEqual(await child.channel.receive(), { ready: true, pid: child.pid });
    child.channel.send({ go: true, skip });
    return child;
  }

  /** In a process of its own. */
  async shell(command: string): Promise<string> {
    const options = { cwd: '/', timeout: TIMEOUT_MS, env: { ...process.env, M: this.mountpoint } };
    return (await run('sh', ['-c', command], options)).stdout;
  }

  /** Through the writable clone, as the prober. Not mv(1): it compares inode numbers. */
  rename(from: string, to: string): string {
    const script = `try{fs.renameSync('/proc/self/fd/3/${from}','/proc/self/fd/3/${to}');console.log('OK')}catch(e){console.log(e.code)}`;
    const stdio = ['ignore', 'pipe', 'inherit', this.mount.cloneFd] as const;
    return String(
      spawnSync(process.execPath, ['-e', script], { stdio: [...stdio], timeout: TIMEOUT_MS }).stdout,
    ).trim();
  }

  ino(name: string): number {
    const { last } = this.lineage;
    if (last === undefined) throw new Error('nothing is live');
    return last.ino(nodeAt(last, name));
  }
}

test('the server serves files, directories and links, and nothing can be changed', async (t) => {
  const big = randomBytes(3_000_000);
  const served = await Served.start(t, {
    entries: [file('f', 'content', 0o640), directory('d'), file('d/big', big), symlink('d/l', '../f')],
  });
  await served.serve();
  assert.equal(await served.shell('cat $M/f $M/d/l'), 'contentcontent');
  assert.equal(await served.shell('cd $M && find . | sort | tr "\\n" " "'), '. ./d ./d/big ./d/l ./f ');
  assert.equal(await served.shell('readlink $M/d/l'), '../f\n');
  assert.equal(await served.shell('stat -c "%s %a %h" $M/f'), '7 640 1\n');
  const hash = spawnSync('sha256sum', { input: big }).stdout.toString().slice(0, 64);
  assert.equal((await served.shell('sha256sum < $M/d/big')).slice(0, 64), hash);
  for (const change of [
    'rm $M/f',
    'echo > $M/f',
    'mkdir $M/x',
    'touch $M/f',
    'mv $M/f $M/g',
    'ln -s a $M/x',
  ]) {
    await assert.rejects(served.shell(change), /Read-only file system/, change);
  }
  const { requests = 0, unknownRequests, pid } = served.store.readStatus() ?? {};
  assert.ok(requests > 10);
  assert.equal(unknownRequests, 0);
  assert.equal(pid, served.server?.pid);
});

test('the server runs as its user, without network, capabilities or dumps', async (t) => {
  const served = await Served.start(t);
  const { pid } = await served.serve();
  const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
  assert.match(status, new RegExp(`^Uid:\\t${USER.uid}\\t${USER.uid}\\t${USER.uid}\\t`, 'm'));
  assert.match(status, /^CapPrm:\t0+$/m);
  assert.match(status, /^NoNewPrivs:\t1$/m);
  assert.equal(fs.statSync(`/proc/${pid}/mem`).uid, 0, 'not dumpable: its files are root’s');
  assert.equal(fs.readFileSync(`/proc/${pid}/net/dev`, 'utf8').trim().split('\n').length, 3, 'lo alone');
});

/** Reads the file over and over until it is told to stop; says how often, and what was wrong. */
function reader(mountpoint: string, expected: string) {
  const script = `const fs=require('fs');let n=0,bad=[];const end=()=>{console.log(JSON.stringify({n,bad}));process.exit()};
    process.stdin.on('end',end).resume();
    const go=()=>{for(let i=0;i<20;i++){try{const t=fs.readFileSync(process.argv[1],'utf8');if(t!==process.argv[2])bad.push('read '+t.length);n++}catch(e){bad.push(e.code)}}setImmediate(go)};go();`;
  const child = spawn(process.execPath, ['-e', script, `${mountpoint}/f`, expected], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const text = new Promise<string>((resolve) => {
    let all = '';
    child.stdout.on('data', (chunk) => {
      all += chunk;
    });
    child.stdout.on('end', () => resolve(all));
  });
  return {
    child,
    async stop(): Promise<{ n: number; bad: string[] }> {
      child.stdin.end();
      return JSON.parse(await text);
    },
  };
}

for (const resend of [true, false]) {
  for (const cachePolicy of ['page', 'none'] as const) {
    test(`kill -9 loses no request (resend ${resend}, cache ${cachePolicy})`, async (t) => {
      const content = 'x'.repeat(5000);
      const served = await Served.start(t, {
        entries: [file('f', content)],
        resend,
        policy: { cachePolicy },
      });
      await served.serve();
      const readers = [reader(served.mountpoint, content), reader(served.mountpoint, content)];
      t.after(() => {
        for (const { child } of readers) child.kill('SIGKILL');
      });
      for (let i = 0; i < 6; i++) {
        const successor = served.spawn();
        t.after(() => successor.kill());
        assert.deepEqual(await successor.channel?.receive(), { ready: true, pid: successor.pid });
        const old = served.server;
        old?.kill();
        await old?.exited;
        successor.channel?.send({ go: true, skip: false });
        served.server = successor;
        await new Promise((resolve) => setTimeout(resolve, 60));
      }
      for (const each of readers) {
        const { n, bad } = await each.stop();
        assert.deepEqual(bad, []);
        assert.ok(n > 100, `${n} reads`);
      }
    });
  }
}

test('a new generation is served by the next request; old descriptors keep the old bytes', async (t) => {
  const served = await Served.start(t, { entries: [file('f', 'old'), file('same')] });
  await served.serve();
  const watcher = reader(served.mountpoint, 'old');
  t.after(() => watcher.child.kill('SIGKILL'));
  const old = served.ino('f');
  const shell = spawn('sh', ['-c', 'exec 5<$M/f; echo open; read go; cat <&5; echo; cat $M/f'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, M: served.mountpoint },
  });
  const lines: string[] = [];
  shell.stdout.on('data', (chunk) => lines.push(String(chunk)));
  while (lines.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual((await watcher.stop()).bad, []);

  served.activate([file('f', 'new one'), file('same')]);
  shell.stdin.end('go\n');
  await new Promise((resolve) => shell.once('exit', resolve));
  assert.equal(lines.join(''), 'open\nold\nnew one');

  // What the prober does: through the writable clone, the alias onto the name.
  const staged = `${served.token.toString('hex')}/${served.ino('f')}`;
  assert.equal(served.rename(staged, 'f'), 'OK');
  assert.notEqual(old, served.ino('f'));
  assert.equal(await served.shell('stat -c %i $M/f'), `${served.ino('f')}\n`);
  assert.equal(served.rename(staged, 'same'), 'EROFS');
  assert.equal(served.rename('f', 'other'), 'EROFS');
});

test('a candidate is loaded and reported, or refused with the reason, and serving goes on', async (t) => {
  const served = await Served.start(t);
  await served.serve();
  const status = async (change: Partial<Control>) => {
    const sequence = served.write(change);
    await served.shell('stat -f $M');
    const now = served.store.readStatus();
    assert.equal(now?.sequence, sequence);
    return [now?.candidateLoaded, now?.candidateRefused, now?.refusedWhy];
  };
  const good = served.publish([file('f', 'good')]);
  assert.deepEqual(await status({ candidate: good }), [good, 0, undefined]);
  const cases = {
    version: (image: Buffer) => {
      image.writeUInt32LE(99, 8);
      return image;
    },
    invalid: (image: Buffer) => image.subarray(0, 200),
  };
  for (const [why, spoil] of Object.entries(cases)) {
    const bad = served.publish([file('f', why)], spoil);
    assert.deepEqual(await status({ candidate: bad }), [0, bad, why]);
  }
  assert.deepEqual(await status({ candidate: 4242 }), [0, 4242, 'unreadable']);
  assert.deepEqual(await status({ live: 4242, candidate: 0 }), [0, 4242, 'unreadable']);
  assert.equal(await served.shell('cat $M/f'), 'content');
  await status({ live: good });
  assert.equal(await served.shell('cat $M/f'), 'good');
});

test('a server that is told to hand over answers what it took, then ends', async (t) => {
  const served = await Served.start(t);
  const server = await served.serve();
  served.write({ handOver: true });
  // It takes one request to wake it; those that come after wait for the next server.
  const asked = served.shell('stat -f $M && cat $M/f');
  assert.deepEqual(await server.exited, { code: 0, signal: undefined });
  served.write({ handOver: false });
  await served.serve();
  await asked;
  assert.equal(await served.shell('cat $M/f'), 'content');
});

test('a successor loads what it is told to before its turn, and ends when nobody wants it', async (t) => {
  const served = await Served.start(t);
  await served.serve();
  const successor = served.spawn();
  t.after(() => successor.kill());
  await successor.channel?.receive();
  const sequence = served.write({ candidate: served.publish([file('f', 'next')]) });
  successor.channel?.send({ load: true });
  assert.deepEqual(await successor.channel?.receive(), { loaded: sequence });
  assert.equal(served.store.readStatus()?.pid, served.server?.pid, 'the page is still the other’s');
  successor.channel?.close();
  assert.deepEqual(await successor.exited, { code: 0, signal: undefined });
});

test('a server that cannot read what is live says why, and ends', async (t) => {
  const served = await Served.start(t);
  served.write({ live: served.publish([file('f', 'x')], (image) => image.fill(0xff, 200, 300)) });
  const child = served.spawn();
  t.after(() => child.kill());
  assert.deepEqual(await child.channel.receive(), { refused: 'invalid' });
  assert.equal((await child.exited).code, 1);
});

test('the server ends when the filesystem is unmounted', async (t) => {
  const served = await Served.start(t);
  const server = await served.serve();
  await served.shell('cat $M/f');
  await served.mount.unmount();
  served.mount.close();
  assert.deepEqual(await server.exited, { code: 0, signal: undefined });
});

test('an idle server takes no CPU', async (t) => {
  const served = await Served.start(t);
  const { pid } = await served.serve();
  await served.shell('cat $M/f; ls -lR $M');
  const ticks = () => {
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ');
    return Number(fields[13]) + Number(fields[14]);
  };
  // Until it has compiled what it answered with.
  await new Promise((resolve) => setTimeout(resolve, 100 * SLOWNESS));
  const before = ticks();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  assert.ok(ticks() - before <= SLOWNESS, `${ticks() - before} ticks in a second`);
});
