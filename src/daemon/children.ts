/**
 * Starts the processes of a mount: each as its own user, with the privileges and the descriptors that are named and no
 * others, and with an environment that is built, not inherited. All of that is done by util-linux before Node runs,
 * because capabilities and users are of a thread and Node has several.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { MountError } from '../errors.ts';
import { CAPABILITIES, type Capability } from '../system/privileges.ts';
import type { ProcessUser } from '../system/process-users.ts';
import { Channel } from './channel.ts';
import { FDS_VARIABLE, FIRST_FD, PARENT_VARIABLE, type Role } from './roles.ts';
import { checkScript, programDirectory } from './scripts.ts';

export interface ChildOptions {
  readonly role: Role;
  /** Its bundle, beside ours, "server.mjs", or a shell's "prober.sh". Looked for at each start, so that an upgrade is taken. */
  readonly script: string;
  /** Where that is, instead of beside the program. */
  readonly directory?: string | undefined;
  /** Undefined: root, with `capabilities`. */
  readonly user: ProcessUser | undefined;
  /** Descriptors from 3 on, in this order. They stay open here. */
  readonly fds: readonly (number | 'channel')[];
  /** A network namespace of its own, with nothing in it. */
  readonly emptyNetwork?: boolean | undefined;
  /**
   * A mount namespace of its own, which gives nothing back, and a pid namespace of its own: it is 1 there, and whatever it
   * starts ends with it. `pid` is of the process that waits for it.
   */
  readonly ownNamespaces?: boolean | undefined;
  /** The bounding set; a process that is not root has none of it. */
  readonly capabilities?: readonly Capability[] | undefined;
  readonly environment?: Readonly<Record<string, string>> | undefined;
  /** Besides ours. */
  readonly nodeFlags?: readonly string[] | undefined;
  /** The largest file that it may write: what it claims in sparse files can't fill the memory. */
  readonly fileBytesMax?: number | undefined;
  /** Gets its standard error to read. Never ours: whoever has that can write as the supervisor, and block it. */
  readonly hear?:
    | ((stderr: Readable, child: { readonly role: Role; readonly pid: number }) => void)
    | undefined;
}

export interface Exit {
  readonly code: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
}

export interface Child {
  readonly role: Role;
  readonly pid: number;
  /** The other end of the channel that `fds` has. */
  readonly channel: Channel;
  /** Never rejects. */
  readonly exited: Promise<Exit>;
  /**
   * SIGKILL unless named, also to what it started. One that waits for the mount whose device we hold may not end before that
   * does.
   */
  kill(signal?: NodeJS.Signals): void;
}

/** Of util-linux, all three. */
const TOOLS = ['unshare', 'prlimit', 'setpriv'] as const;
const PATH_DEFAULT = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/**
 * One helper thread: nothing is done in the background. Measured, of a child at rest: 8 threads instead of 11, 73 ms
 * until the first answer instead of 106. Its 10.5 MB (PSS) are the same with every flag that was tried (heap limits,
 * --lite-mode, --jitless, --optimize-for-size).
 */
const NODE_FLAGS = ['--v8-pool-size=1'];
/** They handle contents in buffers of their own, and end. */
const SHORT_LIVED: readonly Role[] = ['unsealer', 'composer', 'haproxy'];
/** Those that run for ever and allocate next to nothing: the young generation can't grow to 16 MiB a half. */
const SMALL = ['--max-semi-space-size=1'];
/** Of one that makes much that is soon not needed: its heap grows by 2 MiB between collections instead of 8. */
const SLOWLY_GROWING = ['--optimize-for-size'];
/** The one who waits ends with us, and what it waits for ends with it. */
const OWN_NAMESPACES = ['setpriv', '--pdeathsig', 'KILL', '--'].concat([
  'unshare',
  '--mount',
  '--propagation',
  'private',
  '--pid',
  '--fork',
  '--kill-child',
  '--mount-proc',
  '--',
]);
/** glibc overwrites what is freed: parsers leave copies of plaintext behind (docs/threat-model.md). */
const OVERWRITE_FREED = 'glibc.malloc.perturb=165:glibc.malloc.tcache_count=0';

/** Throws MountError driver-missing where the tools or the script are not there. The child may still fail: `exited` tells. */
export function spawnChild(options: ChildOptions): Child {
  const [command = '', ...argv] = childCommand(options);
  // Each starts the next: one that is missing would show as a child that ends at once.
  for (const tool of TOOLS) {
    if ((tool === command || argv.includes(tool)) && !isInPath(tool)) throw missing(options.role, tool);
  }
  checkScript(argv.at(-1) ?? '');
  const { role, hear } = options;
  const stdio: ('ignore' | 'pipe' | number)[] = ['ignore', 'ignore', hear === undefined ? 'ignore' : 'pipe'];
  stdio.push(...options.fds.map((fd) => (fd === 'channel' ? ('pipe' as const) : fd)));
  const child = spawn(command, argv, {
    stdio,
    env: {
      ...childEnvironment(options.role),
      [FDS_VARIABLE]: `${options.fds.length}`,
      // A parent in another pid namespace has no number.
      ...(options.ownNamespaces === true ? { [PARENT_VARIABLE]: '0' } : {}),
      ...options.environment,
    },
    // A session of its own: Ctrl-C is for the supervisor, which ends the others in their order.
    detached: true,
    cwd: '/',
  });
  const exited = new Promise<Exit>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code: code ?? undefined, signal: signal ?? undefined }));
    child.once('error', () => resolve({ code: undefined, signal: undefined }));
  });
  if (child.pid === undefined) {
    throw new MountError('mount-failed', `cannot start the ${options.role}: the system starts no process`, {
      hint: 'look at the limits of processes and memory of the machine and of the unit',
    });
  }
  if (child.stderr !== null) hear?.(child.stderr, { role, pid: child.pid });
  return {
    role,
    pid: child.pid,
    channel: channelOf(child, options.fds),
    exited,
    kill: (signal = 'SIGKILL') => killGroup(child, signal),
  };
}

/** It leads a group of its own, whose number nobody else has before it is waited for. */
function killGroup({ pid, exitCode, signalCode }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined || exitCode !== null || signalCode !== null) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended, and is about to be waited for.
  }
}

function missing(role: Role, tool: string): MountError {
  return new MountError('driver-missing', `cannot start the ${role}: ${tool} is missing`, {
    hint: 'the kernel driver needs util-linux: apt install util-linux; or mend PATH',
  });
}

function isInPath(name: string): boolean {
  const directories = (process.env['PATH'] ?? PATH_DEFAULT).split(':');
  return directories.some((directory) => {
    try {
      accessSync(path.join(directory, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function channelOf(child: ChildProcess, fds: ChildOptions['fds']): Channel {
  const index = fds.indexOf('channel');
  if (index < 0) throw new Error('a child without a channel');
  return new Channel((child.stdio as unknown as Duplex[])[FIRST_FD + index] as Duplex);
}

/** The whole argv. Every step but that into a pid namespace replaces itself by the next: the pid is the child's. */
export function childCommand(options: ChildOptions): string[] {
  const { user, capabilities = [] } = options;
  const bounding = capabilities.map((name) => `,+${checked(name)}`).join('');
  const script = path.join(options.directory ?? programDirectory(), options.script);
  return [
    ...(options.ownNamespaces === true ? OWN_NAMESPACES : []),
    ...(options.emptyNetwork === true ? ['unshare', '-n', '--'] : []),
    ...(options.fileBytesMax === undefined ? [] : ['prlimit', `--fsize=${options.fileBytesMax}`, '--']),
    'setpriv',
    ...(user === undefined ? [] : ['--reuid', `${user.uid}`, '--regid', `${user.gid}`]),
    '--clear-groups',
    '--inh-caps=-all',
    '--ambient-caps=-all',
    `--bounding-set=-all${bounding}`,
    '--no-new-privs',
    '--pdeathsig',
    'KILL',
    '--',
    ...(script.endsWith('.sh') ? ['sh'] : nodeCommand(options)),
    script,
  ];
}

function nodeCommand({ role, nodeFlags = [] }: ChildOptions): string[] {
  return [
    process.execPath,
    ...(process.allowedNodeEnvironmentFlags.has('--disable-sigusr1') ? ['--disable-sigusr1'] : []),
    ...NODE_FLAGS,
    ...(SHORT_LIVED.includes(role) ? [] : SMALL),
    ...(role === 'agent' ? SLOWLY_GROWING : []),
    ...nodeFlags,
  ];
}

function checked(name: Capability): string {
  if (!Object.hasOwn(CAPABILITIES, name)) throw new Error('a capability that is none');
  return name;
}

/**
 * Only what a role needs: NODE_OPTIONS, LD_* and whatever else changes what a program does stay out. Credentials go to
 * those who fetch and unwrap.
 */
export function childEnvironment(
  role: Role,
  from: Readonly<Record<string, string | undefined>> = process.env,
): Record<string, string> {
  const environment: Record<string, string> = {
    PATH: from['PATH'] ?? PATH_DEFAULT,
    LANG: 'C',
    [PARENT_VARIABLE]: `${process.pid}`,
  };
  const foreign = role === 'agent' || role === 'unsealer';
  for (const [name, value] of Object.entries(from)) {
    if (value === undefined) continue;
    const wanted =
      name === 'TZ' || (foreign && (name === 'HOME' || /^AWS_|^[A-Za-z]+_(PROXY|proxy)$/.test(name)));
    if (wanted) environment[name] = value;
  }
  if (SHORT_LIVED.includes(role)) environment['GLIBC_TUNABLES'] = OVERWRITE_FREED;
  return environment;
}
