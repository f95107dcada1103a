/**
 * What a process gives up, for itself. Capabilities and no_new_privs are of a thread: Node's helper threads keep what
 * they had, so the real dropping is done by setpriv before Node starts (daemon/children.ts), and this is for what can
 * only be given up after it was used.
 */
import { late, libc } from './libc.ts';

// linux/prctl.h
const PR_SET_PDEATHSIG = 1;
const PR_CAPBSET_READ = 23;
const PR_CAPBSET_DROP = 24;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;
// linux/capability.h
const CAPABILITY_VERSION_3 = 0x20080522;
export const CAPABILITIES = {
  chown: 0,
  dac_override: 1,
  dac_read_search: 2,
  fowner: 3,
  fsetid: 4,
  kill: 5,
  setgid: 6,
  setuid: 7,
  setpcap: 8,
  net_bind_service: 10,
  sys_chroot: 18,
  sys_admin: 21,
} as const;
export type Capability = keyof typeof CAPABILITIES;
/** More than there are: CAP_LAST_CAP is 40 in Linux 6. */
const CAPABILITIES_MAX = 64;
// asm-generic/resource.h
const RLIMIT_NOFILE = 7;
// asm-generic/signal.h
const SIGKILL = 9;

const prctl = late('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)');
const capset = late('int capset(const void *, const void *)');
const fchdir = late('int fchdir(int)');
const chrootTo = late('int chroot(const char *)');
const getrlimit = late('int getrlimit(int, void *)');
const setrlimit = late('int setrlimit(int, const void *)');

/** This process is killed when the thread that started it ends. Whoever calls it looks at its parent afterwards. */
export function setDeathSignal(): void {
  libc().check('prctl(PR_SET_PDEATHSIG)', prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
}

/** The directory is the root of every path from now on, and where this process stands. Needs CAP_SYS_CHROOT. */
export function chroot(directoryFd: number): void {
  libc().check('fchdir', fchdir(directoryFd));
  libc().check('chroot', chrootTo('.'));
  // Node remembers where it was.
  process.chdir('/');
}

/** Those of `names` that root's processes of this tree can have at all: a unit or a container may have fewer. */
export function available(names: readonly Capability[]): Capability[] {
  return names.filter((name) => prctl(PR_CAPBSET_READ, CAPABILITIES[name], 0, 0, 0) === 1);
}

/** Of this thread: effective and permitted become exactly `keep`, the rest nothing more. EPERM for one that it has not. */
export function dropCapabilities(keep: readonly Capability[]): void {
  const base = libc();
  base.check('prctl(PR_CAP_AMBIENT)', prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
  const kept = new Set<number>(keep.map((name) => CAPABILITIES[name]));
  // Without CAP_SETPCAP the bounding set stays as it is: it gives nothing to a process that may not gain privileges.
  for (let number = 0; number < CAPABILITIES_MAX; number += 1) {
    if (kept.has(number) || prctl(PR_CAPBSET_READ, number, 0, 0, 0) !== 1) continue;
    if (prctl(PR_CAPBSET_DROP, number, 0, 0, 0) !== 0) break;
  }
  // struct __user_cap_header_struct { version, pid }, then two of { effective, permitted, inheritable }.
  const header = Buffer.alloc(8);
  header.writeUInt32LE(CAPABILITY_VERSION_3);
  const data = Buffer.alloc(24);
  const low = [...kept].reduce((bits, number) => bits | (1 << number), 0) >>> 0;
  data.writeUInt32LE(low, 0);
  data.writeUInt32LE(low, 4);
  base.check('capset', capset(header, data));
}

/**
 * Room for `wanted` descriptors, or as many as the hard limit allows where it may not be raised. Node itself goes up to
 * the hard limit when it starts. Returns what it is now.
 */
export function setNofile(wanted: number): number {
  const base = libc();
  const limits = Buffer.alloc(16);
  base.check('getrlimit(RLIMIT_NOFILE)', getrlimit(RLIMIT_NOFILE, limits));
  const soft = Number(limits.readBigUInt64LE(0));
  const hard = Number(limits.readBigUInt64LE(8));
  for (const next of [wanted, hard]) {
    if (next <= soft) break;
    limits.writeBigUInt64LE(BigInt(next), 0);
    limits.writeBigUInt64LE(BigInt(Math.max(next, hard)), 8);
    if (setrlimit(RLIMIT_NOFILE, limits) === 0) return next;
  }
  return soft;
}
