/**
 * The image of a generation, byte by byte. It is written by the process that parsed a bundle and read by the one that
 * serves it; it never leaves its machine, so numbers are in the machine's byte order: u32 words at multiples of 4, u64
 * as two of them, the low one first. Every field has one possible value for one tree, so nothing in it is left
 * unchecked (validate.ts).
 *
 *   0                     header, 128 bytes
 *   128                   nodes, 64 bytes each, breadth first: the root, then the children of node 0, of node 1, ...;
 *                         children of one directory in the order of the bytes of their names
 *   128 + 64 * nodes      index, u32 each: the nodes in the order of their inode numbers
 *   128 + 68 * nodes      strings: of each node, in order, its name and, of a symlink, its target; UTF-8
 *   (next multiple of 4096)  contents: of each file, in order, its bytes
 *
 * "Metadata" is everything up to the end of the strings.
 */

export const MAGIC = 'sfs-gen\n';
export const VERSION = 1;

export const HEADER_BYTES = 128;
export const NODE_BYTES = 64;
export const INDEX_BYTES = 4;
/** Contents begin on a page, so that they can be mapped or punched out apart. */
const CONTENTS_ALIGNMENT = 4096;

export const WORD_BYTES = 4;
export const NODE_WORDS = NODE_BYTES / WORD_BYTES;
export const UINT32 = 2 ** 32;

/** Words of the header. The magic is the first two; those that are not named are 0. */
export const HEADER = {
  version: 2,
  nodes: 3,
  files: 4,
  directories: 5,
  symlinks: 6,
  stringBytes: 7,
  /** u64 */
  contentBytes: 8,
  id: 10,
  /** u64 */
  serial: 12,
  /** u64 */
  activatedSeconds: 14,
  /** u64: the lowest inode number that no generation has used. */
  nextIno: 16,
  end: 18,
} as const;

/** Words of a node. */
export const NODE = {
  /** u64 */
  ino: 0,
  /** Node; the root is its own parent. */
  parent: 2,
  /** File type and permissions, as in st_mode. */
  mode: 3,
  uid: 4,
  gid: 5,
  /** u64: bytes of contents, of a target; DIRECTORY_SIZE_BYTES */
  size: 6,
  /** u64 */
  mtime: 8,
  nlink: 10,
  /** From the beginning of the strings. */
  nameOffset: 11,
  nameBytes: 12,
  /** File: u64, position of its contents in the image. Directory: first child. Symlink: its target in the strings. */
  at: 13,
  /** Directory: how many children. Symlink: 0. */
  children: 14,
  /** 0 */
  reserved: 15,
} as const;

export const S_IFMT = 0o170000;
export const S_IFREG = 0o100000;
export const S_IFDIR = 0o040000;
export const S_IFLNK = 0o120000;
export const PERMISSIONS = 0o777;

/** What stat shows as a directory's size. It means nothing; 0 upsets some tools. */
export const DIRECTORY_SIZE_BYTES = 4096;

/** The inode number of every generation's root, as FUSE wants it. */
export const ROOT_INO = 1;
/** Inode numbers are below; from here on they are free for what is no file of a generation. */
export const INO_END = 2 ** 52;
/** In milliseconds still a safe integer. */
export const MTIME_SECONDS_MAX = 2 ** 42;

/** Where the strings begin. */
export function stringsStart(nodes: number): number {
  return HEADER_BYTES + (NODE_BYTES + INDEX_BYTES) * nodes;
}

/** Where the contents begin, in an image of so much metadata. */
export function contentsStart(metadataBytes: number): number {
  return Math.ceil(metadataBytes / CONTENTS_ALIGNMENT) * CONTENTS_ALIGNMENT;
}
