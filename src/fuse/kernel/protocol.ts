/**
 * The FUSE wire format: what include/uapi/linux/fuse.h says (7.31 of Linux 5.4 to 7.45 of Linux 6.18), as far as a
 * read-only filesystem meets it. No other file knows an offset.
 *
 * Every struct of that header is a whole number of 32-bit words, in the machine's byte order, so offsets and sizes
 * here are in words: code reads them through a Uint32Array. A u64 is two words, the low one first: little-endian
 * machines only, which is every Linux that Node has a build for except s390x.
 */

export const WORD_BYTES = 4;

const U32 = 1;
const U64 = 2;

type Fields = Readonly<Record<string, number>>;
type Offsets<F extends Fields> = { readonly [K in keyof F]: number } & {
  /** Of the whole struct. */
  readonly words: number;
};

/** Fields and their sizes in words, in order → each one's offset from the start of the struct, and the sum. */
function struct<F extends Fields>(fields: F): Offsets<F> {
  let words = 0;
  const offsets: Record<string, number> = {};
  for (const [name, size] of Object.entries(fields)) {
    offsets[name] = words;
    words += size;
  }
  return { ...offsets, words } as Offsets<F>;
}

export const PROTOCOL_MAJOR = 7;
/** Linux 5.4: the oldest that we speak to. */
export const PROTOCOL_MINOR_MIN = 31;
export const PROTOCOL_MINOR_MAX = 45;

/** FUSE_ROOT_ID. */
export const ROOT_NODEID = 1;

// fuse_in_header, fuse_out_header

/** `extensions`: u16 length in 8-byte units of what follows the arguments (7.38), u16 padding. */
export const IN_HEADER = struct({
  len: U32,
  opcode: U32,
  unique: U64,
  nodeid: U64,
  uid: U32,
  gid: U32,
  pid: U32,
  extensions: U32,
});
export const IN_HEADER_BYTES = IN_HEADER.words * WORD_BYTES;

/** `error`: 0 or a negative errno; in a notification (unique 0) its code. */
export const OUT_HEADER = struct({ len: U32, error: U32, unique: U64 });
export const OUT_HEADER_BYTES = OUT_HEADER.words * WORD_BYTES;

/** enum fuse_opcode. What is not named here is ENOSYS. */
export const OPCODE = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SETUPMAPPING: 48,
  REMOVEMAPPING: 49,
  SYNCFS: 50,
  TMPFILE: 51,
  /** 7.39 */
  STATX: 52,
  /** 7.45 */
  COPY_FILE_RANGE_64: 53,
} as const;

// INIT

/** Before 7.36 only the first four fields are sent. `unused` is 11 words. */
export const INIT_IN = struct({ major: U32, minor: U32, maxReadahead: U32, flags: U32, flags2: U32 });
/** What every kernel sends. */
export const INIT_IN_WORDS_MIN = INIT_IN.flags + U32;

export const INIT_OUT = struct({
  major: U32,
  minor: U32,
  maxReadahead: U32,
  flags: U32,
  /** u16 max_background, u16 congestion_threshold: 0 leaves the kernel's own. */
  background: U32,
  maxWrite: U32,
  /** Nanoseconds. */
  timeGranularity: U32,
  /** u16 max_pages, u16 map_alignment. */
  maxPages: U32,
  /** 7.36 */
  flags2: U32,
  /** 7.40: max_stack_depth; 7.43: u16 request_timeout. */
  unused: 7 * U32,
});

/** INIT flags, bits 0 to 31. */
export const INIT_FLAG = {
  ASYNC_READ: 1 << 0,
  EXPORT_SUPPORT: 1 << 4,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  PARALLEL_DIROPS: 1 << 18,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  INIT_EXT: 1 << 30,
} as const;

/** Bits 32 to 63, which stand in `flags2`. */
export const INIT_FLAG2 = {
  /** FUSE_HAS_RESEND, bit 39 (7.40). */
  HAS_RESEND: 1 << (39 - 32),
} as const;

// Names and attributes

export const ATTR = struct({
  ino: U64,
  size: U64,
  blocks: U64,
  atime: U64,
  mtime: U64,
  ctime: U64,
  atimeNanoseconds: U32,
  mtimeNanoseconds: U32,
  ctimeNanoseconds: U32,
  mode: U32,
  nlink: U32,
  uid: U32,
  gid: U32,
  rdev: U32,
  blksize: U32,
  flags: U32,
});

/** nodeid 0: in a LOOKUP's answer a name that is known not to exist, in a READDIRPLUS's one that is not looked up. */
export const ENTRY_OUT = struct({
  nodeid: U64,
  inodeGeneration: U64,
  entryValid: U64,
  attrValid: U64,
  entryValidNanoseconds: U32,
  attrValidNanoseconds: U32,
  attr: ATTR.words,
});

export const GETATTR_IN = struct({ flags: U32, dummy: U32, fh: U64 });
export const ATTR_OUT = struct({
  attrValid: U64,
  attrValidNanoseconds: U32,
  dummy: U32,
  attr: ATTR.words,
});

export const ACCESS_IN = struct({ mask: U32, padding: U32 });

/** Followed by the old name and the new one, each with its NUL. */
export const RENAME_IN = struct({ newdir: U64 });
export const RENAME2_IN = struct({ newdir: U64, flags: U32, padding: U32 });

// Files

export const OPEN_IN = struct({ flags: U32, openFlags: U32 });
/** `backing`: FOPEN_PASSTHROUGH's (7.40), padding before. */
export const OPEN_OUT = struct({ fh: U64, openFlags: U32, backing: U32 });

export const FOPEN = {
  DIRECT_IO: 1 << 0,
  KEEP_CACHE: 1 << 1,
} as const;

/** Also READDIR's and READDIRPLUS's. */
export const READ_IN = struct({
  fh: U64,
  offset: U64,
  size: U32,
  readFlags: U32,
  lockOwner: U64,
  flags: U32,
  padding: U32,
});

export const RELEASE_IN = struct({ fh: U64, flags: U32, releaseFlags: U32, lockOwner: U64 });

export const LSEEK_IN = struct({ fh: U64, offset: U64, whence: U32, padding: U32 });
export const LSEEK_OUT = struct({ offset: U64 });

// Directories

/** Followed by the name, padded to 8 bytes. */
export const DIRENT = struct({ ino: U64, off: U64, namelen: U32, type: U32 });
export const DIRENTPLUS = struct({ entry: ENTRY_OUT.words, dirent: DIRENT.words });
/** FUSE_DIRENT_ALIGN. */
export const DIRENT_ALIGN_BYTES = 8;

// STATFS

export const STATFS_OUT = struct({
  blocks: U64,
  bfree: U64,
  bavail: U64,
  files: U64,
  ffree: U64,
  bsize: U32,
  namelen: U32,
  frsize: U32,
  padding: U32,
  spare: 6 * U32,
});

// Notifications: an out header with unique 0 and the code in `error`, then these.

/** enum fuse_notify_code. */
export const NOTIFY = {
  INVAL_INODE: 2,
  INVAL_ENTRY: 3,
  DELETE: 6,
  /** 7.40; no body. */
  RESEND: 7,
  /** 7.44 */
  INC_EPOCH: 8,
  /** 7.45 */
  PRUNE: 9,
} as const;

/** `off` -1: attributes only. `len` 0: to the end. */
export const NOTIFY_INVAL_INODE_OUT = struct({ ino: U64, off: U64, len: U64 });

// From other headers: what these structs carry. asm-generic/fcntl.h, linux/stat.h, linux/fs.h.

export const O_ACCMODE = 0o3;
/** The same on every architecture that Node runs on. */
export const O_TRUNC = 0o1000;
export const O_CREAT = 0o100;

export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
/** A dirent's type is its mode's file type shifted by this (DT_DIR is S_IFDIR >> 12). */
export const DIRENT_TYPE_SHIFT = 12;

export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;
