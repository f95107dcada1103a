/**
 * A mount of the kernel driver over a secret that is made at run time: it stands in no argv, source text or file name, so
 * that whoever finds it found a copy. Plaintext never touches a disk here: bundles are sealed in the test's own process.
 */
import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { mkdir, open, rename, writeFile } from 'node:fs/promises';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ArchiveEntry, writeArchive } from '../../src/bundle/archive.ts';
import { localKeyring } from '../../src/keyring/local.ts';
import { sealTest } from './bundles.ts';
import { file } from './entries.ts';
import { Bench, type Daemon, eventually, run } from './program.ts';
import { scanMemory } from './scan.ts';
import { patient } from './slowness.ts';

const CANARY_BYTES = 24;
const KEY_BYTES = 32;

/** Printable, so that a copy in a string is found too; 192 random bits, so that nothing else is. */
export function canary(): Buffer {
  return Buffer.from(randomBytes(CANARY_BYTES).toString('hex'), 'latin1');
}

/** `bytes` of nothing but the canary. */
export function full(needle: Buffer, bytes: number): Buffer {
  return Buffer.alloc(bytes, needle);
}

export interface MountProcess {
  readonly role: string;
  readonly pid: number;
}

export const ROLES = ['supervisor', 'server', 'successor', 'prober', 'teller', 'notifier', 'agent'] as const;

/** There all the while. */
export const RESIDENT = ROLES.filter((role) => role !== 'teller' && role !== 'notifier');

export interface SecretMountOptions {
  /**
   * A notifier is there all the while: an old file is held open, so that the kernel is asked for it again and again. It
   * takes one more generation, the second. Else a notifier comes and goes.
   */
  readonly notifier?: boolean;
  readonly entries: readonly ArchiveEntry[];
  readonly args?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** What the one who starts it leaves open in it, besides a log: its descriptor there is `leakedAs`. */
  readonly leaked?: { readonly fd: number; readonly leakedAs: number };
}

export class SecretMount {
  readonly bench: Bench;
  readonly daemon: Daemon;
  /** Of its own, for the same reason. */
  readonly key: Buffer;
  #serial: number;
  /** The roles that are there all the while. */
  #roles: readonly string[] = RESIDENT;

  private constructor(bench: Bench, daemon: Daemon, key: Buffer, serial: number) {
    this.bench = bench;
    this.daemon = daemon;
    this.key = key;
    this.#serial = serial;
  }

  /** Serves `entries` when it returns, with all of its processes. It is gone after the test. */
  static async start(t: Pick<TestContext, 'after'>, options: SecretMountOptions): Promise<SecretMount> {
    const bench = await Bench.create(t);
    const { entries, args = [], env = {}, leaked, notifier = false } = options;
    const first = notifier ? [...entries, file('held', 'one')] : entries;
    await mkdir(bench.path('mnt'));
    const key = randomBytes(KEY_BYTES);
    await writeFile(bench.path('key'), key, { mode: 0o400 });
    const serial = Date.now();
    await writeFile(bench.path('web.enc'), await sealed(first, key, serial));
    // For a supervisor that was killed: its mount stays in the table.
    bench.after(() => run('umount', ['-l', bench.path('mnt')]));
    const all = ['web.enc', 'mnt', '--driver', 'kernel', '--key', 'local:key', ...args];
    const daemon = bench.startMount(all, { ...bench.env, ...env }, leaked);
    await daemon.event('ready');
    const mount = new SecretMount(bench, daemon, key, serial);
    if (notifier) {
      const held = await open(mount.path('held'));
      bench.after(() => held.close());
      mount.#roles = ROLES.filter((role) => role !== 'teller');
      await mount.rotate([...entries, file('held', 'two')]);
    }
    await mount.processes();
    return mount;
  }

  get mountpoint(): string {
    return this.bench.path('mnt');
  }

  path(name: string): string {
    return this.bench.path('mnt', name);
  }

  get supervisor(): number {
    if (this.daemon.child.pid === undefined) throw new Error('it did not start');
    return this.daemon.child.pid;
  }

  /** All of them started; unsealers are not among them, and teller and notifier may be missing where none was asked for. */
  async processes(): Promise<MountProcess[]> {
    return eventually(async () => {
      const [status] = JSON.parse(await this.bench.must(['status', '--json']));
      const found = (status.processes as MountProcess[]).map(({ role, pid }) => ({ role, pid }));
      const missing = this.#roles.filter(
        (role) => !found.some((each) => each.role === role && hasStarted(each)),
      );
      if (missing.length > 0) throw new Error(`there is no ${missing.join(', ')}`);
      return found;
    });
  }

  async pidOf(role: (typeof ROLES)[number]): Promise<number> {
    const found = (await this.processes()).find((each) => each.role === role);
    if (found === undefined) throw new Error(`there is no ${role}`);
    return found.pid;
  }

  /** Puts a new bundle in place, of entries or of a tar as it is. The mount takes it by itself, or when it is asked. */
  async put(contents: readonly ArchiveEntry[] | Buffer, serial = ++this.#serial): Promise<void> {
    await writeFile(this.bench.path('new'), await sealed(contents, this.key, serial));
    await rename(this.bench.path('new'), this.bench.path('web.enc'));
  }

  /** The same, and it is live when this returns. */
  async rotate(entries: readonly ArchiveEntry[]): Promise<void> {
    const activations = this.daemon.count('activated');
    await this.put(entries);
    await this.bench.secretsfs(['remount', 'web']);
    await this.daemon.event('activated', activations + 1);
  }

  /**
   * The next unsealer, as soon as it is a Node process; undefined where there is none in time. It lives for a few hundred
   * milliseconds, so whoever wants more stops it.
   */
  async unsealer(timeoutMs = patient(10_000)): Promise<number | undefined> {
    const deadline = Date.now() + timeoutMs;
    while (Date.now() < deadline) {
      const found = childrenOf(this.supervisor).find((pid) => isNode(pid) && roleOf(pid) === 'unsealer');
      if (found !== undefined) return found;
      await sleep(1);
    }
    return undefined;
  }

  /**
   * An unsealer that is stopped with the plaintext in its memory; it goes on by SIGCONT. What it unseals is `secret`, and
   * nothing else that the mount has.
   */
  async stoppedUnsealer(secret: Buffer): Promise<number> {
    for (let attempt = 0; attempt < CATCHES_MAX; attempt++) {
      await this.put(secretFile(secret, LARGE_BYTES));
      const pid = await this.unsealer();
      if (pid === undefined) continue;
      this.bench.after(async () => {
        if (isNode(pid)) process.kill(pid, 'SIGKILL');
      });
      while (isAlive(pid)) {
        process.kill(pid, 'SIGSTOP');
        if (scanMemory(pid, secret).length > 0) return pid;
        process.kill(pid, 'SIGCONT');
        await sleep(3);
      }
    }
    throw new Error('no unsealer was caught with the plaintext');
  }
}

/** Long enough in the making to be caught. */
const LARGE_BYTES = 24 * 1024 * 1024;
const CATCHES_MAX = 5;

async function sealed(
  contents: readonly ArchiveEntry[] | Buffer,
  key: Buffer,
  serial: number,
): Promise<Buffer> {
  const tar = Buffer.isBuffer(contents) ? contents : await writeArchive(contents as readonly ArchiveEntry[]);
  return sealTest(tar, { serial, keyring: localKeyring(key).keyring });
}

/** A bundle with one file "secret" that is `bytes` of nothing but the canary. */
export function secretFile(needle: Buffer, bytes = 3000): ArchiveEntry[] {
  return [file('secret', full(needle, bytes))];
}

const NODE = realpathSync(process.execPath);

/** It is past unshare and setpriv. */
function hasStarted({ role, pid }: MountProcess): boolean {
  return role === 'prober' ? argvOf(pid)[0] === 'sh' : isNode(pid);
}

/** The same, of one that is a Node. */
export function isNode(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/exe`) === NODE;
  } catch {
    return false;
  }
}

export function roleOf(pid: number): string | undefined {
  return /([a-z]+)\.mjs$/.exec(argvOf(pid).find((word) => word.endsWith('.mjs')) ?? '')?.[1];
}

export function argvOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}

/** Of all its threads. */
export function childrenOf(pid: number): number[] {
  const found: number[] = [];
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const text = readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').trim();
      if (text !== '') found.push(...text.split(' ').map(Number));
    }
  } catch {
    // It is gone.
  }
  return found;
}

export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s*[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** For one that was told to go. */
export async function untilGone(pid: number, timeoutMs = patient(10_000)): Promise<void> {
  await eventually(async () => {
    if (isAlive(pid)) throw new Error(`process ${pid} is still there`);
  }, timeoutMs);
}
