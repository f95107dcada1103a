/** The port to the machine that doctor looks at: everything that a check asks of the kernel, files and programs. Nothing here writes. */
import { execFile } from 'node:child_process';
import { closeSync, constants } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { release } from 'node:os';
import { errnoWords } from '../errors.ts';
import { CGROUP_SOURCES, memoryHeadroom, swapExcluded } from '../system/cgroups.ts';
import { closeQuietly } from '../system/files.ts';
import { type MountEntry, readMounts } from '../system/mountinfo.ts';
import { openProcess } from '../system/pidfd.ts';
import { type Outcome, run } from '../system/run.ts';
import { type Untrusted, walk } from '../system/trusted.ts';
import { passwdLines } from '../system/users.ts';

/** What a file says is at most so long; of a longer one the beginning is read. */
const FILE_BYTES_MAX = 1024 * 1024;
const PROGRAM_MS_MAX = 10_000;

export interface FileFacts {
  readonly kind: 'file' | 'directory' | 'other';
  readonly uid: number;
  readonly gid: number;
  /** 12 bits. */
  readonly mode: number;
}

export interface User {
  readonly name: string;
  readonly uid: number;
  /** The primary one first. */
  readonly gids: readonly number[];
}

export interface Machine {
  readonly uid: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** As uname -r says it. */
  readonly kernel: string;
  /** undefined where there is no such file. Throws what open(2) does otherwise. */
  read(file: string): Promise<string | undefined>;
  /** Sorted names; empty where there is no such directory. */
  list(directory: string): Promise<readonly string[]>;
  /** undefined where there is none. Symlinks are followed. */
  stat(path: string): Promise<FileFacts | undefined>;
  /** Opens for reading and writing, and closes: undefined, or the errno's name. */
  openError(path: string): Promise<string | undefined>;
  /** What others than root could have changed. undefined: nothing, or there is no such path. */
  untrusted(path: string): Untrusted | undefined;
  run(command: string, args: readonly string[]): Promise<Outcome>;
  /** Whether a program by that name is in PATH or where root's are. */
  has(program: string): Promise<boolean>;
  mounts(): Promise<readonly MountEntry[]>;
  /** What the control groups of a process leave it, and whether they, or the machine, keep it out of swap. */
  memoryOf(pid: number): Promise<{ readonly headroom: number | undefined; readonly swapExcluded: boolean }>;
  /** Why a process can't be had as a descriptor, in words; undefined: it can. */
  pidfdProblem(): string | undefined;
  user(nameOrUid: string): Promise<User | undefined>;
  /**
   * HTTP, of its own process as another user: the status, or undefined where nobody answered within a second. Throws where no
   * process can be that user.
   */
  statusAs(
    uid: number,
    request: { readonly method: string; readonly url: string; readonly header?: string },
  ): Promise<number | undefined>;
}

export const MACHINE: Machine = {
  uid: process.geteuid?.() ?? -1,
  env: process.env,
  kernel: release(),
  read,
  async list(directory) {
    const names = await readdir(directory).catch((error) => unlessAbsent(error, [] as string[]));
    return names.sort();
  },
  async stat(path) {
    const found = await stat(path).catch((error) => unlessAbsent(error, undefined));
    if (found === undefined) return undefined;
    const kind = found.isFile() ? 'file' : found.isDirectory() ? 'directory' : 'other';
    return { kind, uid: found.uid, gid: found.gid, mode: found.mode & 0o7777 };
  },
  async openError(path) {
    try {
      await (await open(path, 'r+')).close();
      return undefined;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? 'failure';
    }
  },
  untrusted(path) {
    try {
      const { fd, untrusted } = walk(path);
      closeQuietly(fd);
      return untrusted;
    } catch (error) {
      return (error as { untrusted?: Untrusted }).untrusted;
    }
  },
  run: (command, args) => run(command, args, PROGRAM_MS_MAX),
  async has(program) {
    const directories = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/bin', '/bin'];
    for (const directory of directories) {
      const found = await stat(`${directory}/${program}`).catch(() => undefined);
      if (found?.isFile() === true && (found.mode & 0o111) !== 0) return true;
    }
    return false;
  },
  mounts: readMounts,
  async memoryOf(pid) {
    const sources = { ...CGROUP_SOURCES, cgroup: `/proc/${pid}/cgroup` };
    return { headroom: await memoryHeadroom(sources), swapExcluded: await swapExcluded(sources) };
  },
  pidfdProblem() {
    try {
      closeSync(openProcess(process.pid));
      return undefined;
    } catch (error) {
      return errnoWords(error);
    }
  },
  async user(nameOrUid) {
    for (const line of await passwdLines([nameOrUid])) {
      const [name = '', , uid = '', gid = ''] = line.trim().split(':');
      if (name !== nameOrUid && uid !== nameOrUid) continue;
      const { stdout } = await run('id', ['-G', '--', name], PROGRAM_MS_MAX);
      const more = stdout
        .trim()
        .split(' ')
        .filter((each) => /^\d+$/.test(each));
      return { name, uid: Number(uid), gids: [...new Set([gid, ...more].map(Number))] };
    }
    return undefined;
  },
  statusAs,
};

async function read(file: string): Promise<string | undefined> {
  // A fifo would be waited for.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK).catch((error) =>
    unlessAbsent(error, undefined),
  );
  if (handle === undefined) return undefined;
  try {
    const chunks: Buffer[] = [];
    // Files of /proc give no more than a page at a time.
    for (let bytes = 0; bytes < FILE_BYTES_MAX; ) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(64 * 1024));
      if (bytesRead === 0) break;
      chunks.push(buffer.subarray(0, bytesRead));
      bytes += bytesRead;
    }
    return Buffer.concat(chunks).toString('utf8');
  } finally {
    await handle.close();
  }
}

function unlessAbsent<T>(error: unknown, instead: T): T {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') return instead;
  throw error;
}

/** Its arguments are ours, or of the environment: nothing of a bundle. */
const ASK = `
const [url, method, header] = process.argv.slice(1);
const request = require('node:http').request(url, { method, agent: new (require('node:http').Agent)(), timeout: 1000,
  headers: header ? { [header.split('=')[0]]: header.split('=')[1] } : {} }, (response) => {
  process.stdout.write(String(response.statusCode)); process.exit(0);
});
const end = () => process.exit(0);
request.on('error', end); request.on('timeout', end); setTimeout(end, 2000); request.end();
`;

function statusAs(
  uid: number,
  { method, url, header }: { readonly method: string; readonly url: string; readonly header?: string },
): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const args = ['-e', ASK, url, method, ...(header === undefined ? [] : [header])];
    const options = { uid, gid: uid, env: {}, cwd: '/', timeout: PROGRAM_MS_MAX };
    execFile(process.execPath, args, options, (error, stdout) => {
      if (error !== null)
        reject(Object.assign(new Error('no process'), { code: 'EACCES', path: process.execPath }));
      else resolve(stdout === '' ? undefined : Number(stdout));
    });
  });
}
