/**
 * What is compared, each mounted with the same files: ours with its options, and what one might use instead, over
 * ramfs, so that no disk is measured. All is unmounted and ended after the benchmark, also when it fails.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Bench, type Daemon, eventually, must, run } from '../support/program.ts';
import { processTree } from './processes.ts';
import { passthroughProgram } from './readers.ts';

/** False: the program has no kernel driver yet; its flags are left out, and fuse-native stands in. */
export const KERNEL_DRIVER = true;

const STOCK = path.join(path.dirname(fileURLToPath(import.meta.url)), 'stock-fuse-native.js');
const MOUNT_MS_MAX = 60_000;
/** Above what any benchmark packs. */
const LIMITS = ['--max-bytes', '1G', '--max-files', '200000'];

export interface Filesystem {
  readonly name: string;
  /** The files are in here. */
  readonly directory: string;
  /** All processes that serve it; none for ramfs. */
  pids(): Promise<number[]>;
}

export interface Ours extends Filesystem {
  readonly instance: string;
  readonly daemon: Daemon;
}

export const VARIANTS = {
  default: [],
  '--cache none': ['--cache', 'none'],
  '--fast-open': ['--fast-open'],
} as const;
export type Variant = keyof typeof VARIANTS;

export interface Layout {
  readonly directories: number;
  readonly filesEach: number;
  readonly fileBytes: number;
}

export function directoryName(i: number): string {
  return `d${String(i).padStart(3, '0')}`;
}
export function fileName(i: number): string {
  return `f${String(i).padStart(4, '0')}`;
}

/** Files of random bytes; the same bytes for all, so that making many is quick. */
export async function makeFiles(
  directory: string,
  layout: Layout,
): Promise<{ files: number; bytes: number }> {
  const content = randomBytes(layout.fileBytes);
  for (let d = 0; d < layout.directories; d++) {
    const into = path.join(directory, directoryName(d));
    await mkdir(into, { recursive: true });
    for (let f = 0; f < layout.filesEach; f++) {
      // Different, that nobody may take two for one.
      content.writeUInt32LE(d * layout.filesEach + f, 0);
      await writeFile(path.join(into, fileName(f)), content);
    }
  }
  const files = layout.directories * layout.filesEach;
  return { files, bytes: files * layout.fileBytes };
}

/** An empty ramfs of this name in the bench's directory. */
export function ramfs(bench: Bench, name: string): Promise<Filesystem> {
  return inMemory(bench, name, 'ramfs', []);
}

/** The same, of pages that the kernel takes one by one from where it takes those of FUSE. */
export function tmpfs(bench: Bench, name: string): Promise<Filesystem> {
  return inMemory(bench, name, 'tmpfs', ['-o', 'huge=never']);
}

/** An ext4 of this size, of its own; what was read or written once comes from the page cache. */
export async function ext4(bench: Bench, name: string, bytes: number): Promise<Filesystem> {
  const image = bench.path(`${name}.img`);
  await must('truncate', ['--size', String(bytes), image]);
  await must('mkfs.ext4', ['-q', '-F', image]);
  const directory = bench.path(name);
  await mkdir(directory);
  await must('mount', ['-t', 'ext4', '-o', 'loop', image, directory]);
  bench.after(() => unmount(directory));
  return { name: 'ext4', directory, pids: async () => [] };
}

async function inMemory(
  bench: Bench,
  name: string,
  type: string,
  options: readonly string[],
): Promise<Filesystem> {
  const directory = bench.path(name);
  await mkdir(directory);
  await must('mount', ['-t', type, ...options, type, directory]);
  bench.after(() => unmount(directory));
  return { name: type, directory, pids: async () => [] };
}

/** Seals a directory as NAME.enc, with the bench's `key`. */
export async function pack(bench: Bench, directory: string, name: string): Promise<string> {
  if ((await run('test', ['-e', bench.path('key')])).code !== 0) await bench.must(['keygen', 'key']);
  const bundle = bench.path(`${name}.enc`);
  await bench.must(['pack', '--dir', directory, '--key', 'local:key', ...LIMITS, bundle]);
  return bundle;
}

/** What `secretsfs mount` is given for a variant of ours, besides what to mount and where. */
export function driverArguments(variant: Variant): string[] {
  return KERNEL_DRIVER ? ['--driver', 'kernel', '--allow-swap', ...VARIANTS[variant]] : [];
}

export function ourName(variant: Variant): string {
  const name = variant === 'default' ? 'secretsfs' : `secretsfs ${variant}`;
  return KERNEL_DRIVER ? name : `${name} (stand-in)`;
}

export async function ours(bench: Bench, bundle: string, instance: string, variant: Variant): Promise<Ours> {
  const directory = bench.path(`mnt-${instance}`);
  await mkdir(directory);
  const options = ['--key', 'local:key', '--instance', instance, ...LIMITS, ...driverArguments(variant)];
  const daemon = bench.startMount([bundle, directory, ...options]);
  await daemon.event('ready', 1, MOUNT_MS_MAX);
  const { pid } = daemon.child;
  if (pid === undefined) throw new Error('the mount has no process');
  return { name: ourName(variant), directory, instance, daemon, pids: () => processTree(pid) };
}

/** npm's fuse-native as its README uses it, with every cache of libfuse 2 on. */
export async function stockFuseNative(bench: Bench, source: string): Promise<Filesystem> {
  const directory = bench.path('mnt-fuse-native');
  return foreground(bench, 'stock fuse-native', directory, process.execPath, [STOCK, source, directory]);
}

export async function bindfs(bench: Bench, source: string): Promise<Filesystem> {
  const directory = bench.path('mnt-bindfs');
  return foreground(bench, 'bindfs', directory, 'bindfs', ['-f', source, directory]);
}

export async function passthrough(bench: Bench, source: string): Promise<Filesystem> {
  const directory = bench.path('mnt-passthrough');
  const options = ['-f', '-o', `source=${source},cache=always`, directory];
  return foreground(bench, 'passthrough_ll', directory, await passthroughProgram(), options);
}

/** Its ciphertext is on a ramfs of its own; `source` is copied in. */
export async function gocryptfs(bench: Bench, source: string): Promise<Filesystem> {
  const { directory: ciphertext } = await ramfs(bench, 'ciphertext');
  const directory = bench.path('mnt-gocryptfs');
  const password = bench.path('password');
  await writeFile(password, randomBytes(16).toString('hex'));
  // The cost of the password's hash is none of a reader's.
  await must('gocryptfs', ['-init', '-q', '-scryptn', '10', '-passfile', password, ciphertext]);
  const options = ['-fg', '-q', '-nosyslog', '-passfile', password, ciphertext, directory];
  const mounted = await foreground(bench, 'gocryptfs', directory, 'gocryptfs', options);
  await must('cp', ['-r', `${source}/.`, directory]);
  return mounted;
}

/** Starts a server that stays in the foreground, and waits until it is mounted. */
async function foreground(
  bench: Bench,
  name: string,
  directory: string,
  command: string,
  args: readonly string[],
): Promise<Filesystem> {
  await mkdir(directory);
  const log = bench.path(`${path.basename(directory)}.log`);
  // Unmounts even if we are killed: all of them do on SIGTERM.
  const quiet = ['sh', '-c', 'log=$1; shift; exec "$@" >"$log" 2>&1', 'sh', log, command, ...args];
  const child = bench.start('setpriv', ['--pdeathsig', 'TERM', ...quiet]);
  const { pid } = child;
  if (pid === undefined) throw new Error(`cannot start ${command}`);
  bench.after(() => unmount(directory));
  await eventually(async () => {
    if (await isMounted(directory)) return;
    throw new Error(`${command} did not mount ${directory}: ${await readFile(log, 'utf8').catch(() => '')}`);
  });
  return { name, directory, pids: () => processTree(pid) };
}

async function isMounted(directory: string): Promise<boolean> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8');
  return mounts.split('\n').some((line) => line.split(' ')[4] === directory);
}

async function unmount(directory: string): Promise<void> {
  if (!(await isMounted(directory))) return;
  if ((await run('umount', [directory])).code !== 0) await must('umount', ['-l', directory]);
}

/** What `secretsfs status --json` says of a mount. */
export async function statusOf(bench: Bench, instance: string): Promise<Status> {
  const [status] = JSON.parse(await bench.must(['status', instance, '--json'])) as Status[];
  if (status === undefined) throw new Error(`status knows no ${instance}`);
  return status;
}

/** As much of it as benchmarks read. */
export interface Status {
  readonly live: { readonly bytes: number };
  readonly lingering: readonly { readonly bytes: number }[];
  readonly memory?: { readonly storeBytes?: number };
  readonly processes?: readonly { readonly role: string; readonly pid: number }[];
}
