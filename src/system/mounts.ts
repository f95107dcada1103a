/**
 * Mounting by file descriptor: fsopen(2) and its family (Linux 5.2). A filesystem made this way is in no mount table
 * until it is attached, and what it is attached to can't be exchanged in between. glibc has the functions since 2.36,
 * musl has not, so they are called by number; these numbers are the same on every architecture.
 */
import { closeSync } from 'node:fs';
import { closeQuietly } from './files.ts';
import { late, libc, SystemCallError } from './libc.ts';

// asm-generic/unistd.h
const SYS_OPEN_TREE = 428;
const SYS_MOVE_MOUNT = 429;
const SYS_FSOPEN = 430;
const SYS_FSCONFIG = 431;
const SYS_FSMOUNT = 432;
const SYS_MOUNT_SETATTR = 442;
// linux/mount.h
const FSOPEN_CLOEXEC = 1;
const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const FSMOUNT_CLOEXEC = 1;
const MOUNT_ATTR_RDONLY = 0x1;
const MOUNT_ATTR_NOSUID = 0x2;
const MOUNT_ATTR_NODEV = 0x4;
const MOUNT_ATTR_NOEXEC = 0x8;
const MOVE_MOUNT_F_EMPTY_PATH = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH = 0x40;
const OPEN_TREE_CLONE = 1;
const MS_RDONLY = 1;
const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_NOEXEC = 8;
const MS_REMOUNT = 32;
const MS_BIND = 4096;
// asm-generic/fcntl.h, linux/fcntl.h
const O_CLOEXEC = 0o2000000;
const AT_EMPTY_PATH = 0x1000;
/** struct mount_attr: attr_set, attr_clr, propagation, userns_fd; u64 each. */
const MOUNT_ATTR_BYTES = 32;
// sys/mount.h
export const MNT_FORCE = 1;
export const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

const NOTHING_SPECIAL = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

const fsopen = late('long syscall(long, const char *, unsigned int)');
const fsconfig = late('long syscall(long, int, unsigned int, const char *, const char *, int)');
const fsmount = late('long syscall(long, int, unsigned int, unsigned int)');
const moveMount = late('long syscall(long, int, const char *, int, const char *, unsigned int)');
const setAttributes = late('long syscall(long, int, const char *, unsigned int, const void *, size_t)');
const openTree = late('long syscall(long, int, const char *, unsigned int)');
const mount = late('int mount(const char *, const char *, const char *, unsigned long, const char *)');
const umount2 = late('int umount2(const char *, int)');

type Parameter = readonly [key: string, value?: string];

/** A filesystem that is attached nowhere: the descriptor of its root directory. It ends with the last descriptor. */
export function makeFilesystem(type: string, parameters: readonly Parameter[]): number {
  const base = libc();
  const context = base.made(`fsopen(${type})`, fsopen(SYS_FSOPEN, type, FSOPEN_CLOEXEC));
  try {
    for (const [key, value] of parameters) {
      const command = value === undefined ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING;
      const result = fsconfig(SYS_FSCONFIG, context, command, key, value ?? null, 0);
      base.made(`fsconfig(${type}, ${key})`, result);
    }
    base.made(
      `fsconfig(${type}, create)`,
      fsconfig(SYS_FSCONFIG, context, FSCONFIG_CMD_CREATE, null, null, 0),
    );
    return base.made(`fsmount(${type})`, fsmount(SYS_FSMOUNT, context, FSMOUNT_CLOEXEC, NOTHING_SPECIAL));
  } finally {
    closeSync(context);
  }
}

/**
 * A ramfs that never was in a mount table: its root directory. ramfs pages are never swapped. Throws SystemCallError;
 * ENOSYS before Linux 5.2, EPERM without CAP_SYS_ADMIN.
 */
export function createRamfs(mode: number): number {
  return makeFilesystem('ramfs', [
    ['source', 'secretsfs'],
    ['mode', mode.toString(8)],
  ]);
}

export interface AttachedMount {
  /** What is attached, for asking about it and for changing its flags. */
  readonly mountFd: number;
  /** A second, writable view of the same filesystem, attached nowhere. */
  readonly cloneFd: number;
}

export interface FuseFilesystem {
  readonly fuseFd: number;
  /** What the mount table shows. */
  readonly source: string;
  readonly selinuxContext?: string | undefined;
}

/** The kernel has sent INIT when this returns. */
function makeFuse(options: FuseFilesystem): number {
  return makeFilesystem('fuse', fuseParameters(options));
}

/** Exported for tests: no kernel with SELinux is at hand. */
export function fuseParameters({ fuseFd, source, selinuxContext }: FuseFilesystem): Parameter[] {
  return [
    ['source', source],
    ['subtype', 'secretsfs'],
    ['fd', `${fuseFd}`],
    ['rootmode', '40000'],
    ['user_id', '0'],
    ['group_id', '0'],
    ['allow_other'],
    // Never allow_other without it: everybody would pass (libfuse/libfuse#15).
    ['default_permissions'],
    ...(selinuxContext === undefined ? [] : [['context', selinuxContext] as const]),
  ];
}

/**
 * A FUSE filesystem that is attached nowhere, read-only where the kernel can do that now: attachHere() is for whoever
 * inherits the descriptor. The kernel has sent INIT when this returns.
 */
export function makeFuseAside(options: FuseFilesystem): number {
  const mountFd = makeFuse(options);
  try {
    setReadOnly(mountFd, true);
    return mountFd;
  } catch (error) {
    closeSync(mountFd);
    throw error;
  }
}

/** Attaches it in the mount namespace of this process, whichever it was made in; read-only when this returns. */
export function attachHere(mountFd: number, directoryFd: number): void {
  move(mountFd, directoryFd);
  remountReadOnly(mountFd);
}

/** A FUSE filesystem over an open /dev/fuse, on the directory. The kernel has sent INIT when this returns. */
export function mountFuse(
  options: FuseFilesystem & {
    /** From openPath(): it, not its path, is what is mounted on. */
    readonly directoryFd: number;
  },
): AttachedMount {
  return attach(makeFuse(options), options.directoryFd);
}

/**
 * On the directory, read-only, with a view that is not. `mountFd`, from makeFilesystem(), is closed where that fails. Throws
 * SystemCallError.
 */
export function attach(mountFd: number, directoryFd: number): AttachedMount {
  try {
    return { mountFd, cloneFd: attachReadOnly(mountFd, directoryFd) };
  } catch (error) {
    closeSync(mountFd);
    throw error;
  }
}

/**
 * The mount is read-only before it is attached: attaching makes copies in every mount namespace that is a slave or a peer,
 * with the flags of that moment. The clone is made after it: before Linux 6.15 nothing else can be cloned (EINVAL). Mount
 * flags are of each view, not of the filesystem.
 */
function attachReadOnly(mountFd: number, directoryFd: number): number {
  const base = libc();
  const self = `/proc/self/fd/${mountFd}`;
  const cloneFlags = OPEN_TREE_CLONE | AT_EMPTY_PATH | O_CLOEXEC;
  const early = setReadOnly(mountFd, true);
  move(mountFd, directoryFd);
  let cloneFd: number | undefined;
  try {
    cloneFd = base.made('open_tree', openTree(SYS_OPEN_TREE, mountFd, '', cloneFlags));
    if (early) setReadOnly(cloneFd, false);
    remountReadOnly(mountFd);
    return cloneFd;
  } catch (error) {
    closeQuietly(cloneFd);
    umount2(self, MNT_DETACH);
    throw error;
  }
}

function move(mountFd: number, directoryFd: number): void {
  const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
  libc().made('move_mount', moveMount(SYS_MOVE_MOUNT, mountFd, '', directoryFd, '', flags));
}

/** Of a mount that is attached. */
function remountReadOnly(mountFd: number): void {
  const readOnly = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
  const self = `/proc/self/fd/${mountFd}`;
  libc().check('mount(remount read-only)', mount(null, self, null, readOnly, null));
}

/**
 * Of a mount that is attached nowhere. False before Linux 5.12, which can not: there, copies in other namespaces stay
 * writable for the VFS, and the server refuses all the same. Throws SystemCallError.
 */
function setReadOnly(mountFd: number, readOnly: boolean): boolean {
  const base = libc();
  const attributes = Buffer.alloc(MOUNT_ATTR_BYTES);
  attributes.writeBigUInt64LE(BigInt(MOUNT_ATTR_RDONLY), readOnly ? 0 : 8);
  try {
    base.made(
      'mount_setattr',
      setAttributes(SYS_MOUNT_SETATTR, mountFd, '', AT_EMPTY_PATH, attributes, attributes.length),
    );
    return true;
  } catch (error) {
    if (error instanceof SystemCallError && error.code === 'ENOSYS') return false;
    throw error;
  }
}

/**
 * /proc/self/fd/N of a mount's descriptor names exactly that mount; of any other path a symlink at the end is not
 * followed. Throws SystemCallError.
 */
export function unmount(path: string, flags: number): void {
  const isDescriptor = /^\/proc\/self\/fd\/\d+$/.test(path);
  libc().check('umount2', umount2(path, isDescriptor ? flags : flags | UMOUNT_NOFOLLOW));
}
