/** Every cap in the program, in one place, each with its reason. Bytes and milliseconds, as the names say. */

const KIB = 1024;
const MIB = 1024 * KIB;

/** Frames of a sealed message. 1 MiB seals at 0.9 of raw AES-GCM, 4 KiB at 0.25 (measured). */
export const FRAME_BYTES_MAX = MIB;
/** Below this a frame header costs more than it saves. */
export const FRAME_BYTES_MIN = 4 * KIB;

/** Wrapping keys of one bundle. Each may cost a KMS call when unwrapping, and whoever owns the bucket chooses how many. */
export const ENCRYPTED_DATA_KEYS_MAX = 8;

/** A message's header: 8 data keys and a context. The format allows 64 KiB of each; nothing honest comes near. */
export const HEADER_BYTES_MAX = 64 * KIB;

/** Pairs of a user's own encryption context. KMS takes 8 KiB in all; CloudTrail shows every pair. */
export const CONTEXT_PAIRS_MAX = 32;
export const CONTEXT_TEXT_MAX = 1024;
/** Of all of them: leaves 2 KiB of KMS's 8 to the signing key and the secretsfs-* pairs, and to how KMS counts. */
export const CONTEXT_BYTES_MAX = 6 * KIB;

/** What KMS encrypts by itself, and what a CiphertextBlob may take (its API reference: Encrypt, Decrypt). */
export const KMS_PLAINTEXT_BYTES_MAX = 4096;
export const KMS_CIPHERTEXT_BYTES_MAX = 6144;

/** In a directory that is mounted: each is a call of KMS whenever one of them changes. */
export const CIPHERTEXTS_MAX = 256;
/** One of them, as text with what stands around it. */
export const CIPHERTEXT_FILE_BYTES_MAX = 4 * KMS_CIPHERTEXT_BYTES_MAX;

/** What encrypt and decrypt carry, whole in memory: for keys and passwords as for a store's; pack takes archives. */
export const FILE_BYTES_MAX = 64 * MIB;

/** A bundle's name goes into contexts, policies, socket paths and messages. */
export const NAME_LENGTH_MAX = 64;

/** A serial may be this far ahead of the clock: an author's clock is allowed to be wrong, not a year ahead. */
export const SERIAL_AHEAD_MS_MAX = 60 * 60 * 1000;

/**
 * What author commands (pack, unpack) carry. The whole message is in memory because nothing of it may be used
 * before its signature, at the end, is verified; Node 20 can't make a Buffer over 4 GiB.
 */
export const TAR_BYTES_MAX = 2048 * MIB;

/** One secret of a store. It is whole in memory, sealed and open, and its commands are for keys and passwords, not for archives. */
export const SECRET_BYTES_MAX = 64 * MIB;
/** Enough of the beginning of nearly every secret to see its header and its length: a header under one KMS key is 0.7 KiB. */
export const SECRET_HEAD_BYTES = 4 * KIB;
/**
 * The full place of a secret, which its context carries: s3://, a bucket of 255, / and a key of 1,024 bytes. With
 * CONTEXT_BYTES_MAX and our other pairs it stays under KMS's 8 KiB.
 */
export const LOCATION_BYTES_MAX = 1_300;

/**
 * What may be mounted, by default. Ciphertext, tar and contents together, beside the live generation, were 400 MB at the
 * most with this much from a file (measured): what an instance of 512 MiB can just give.
 */
export const MOUNT_BYTES_DEFAULT = 64 * MIB;
export const MOUNT_FILES_DEFAULT = 10_000;
/** What --max-bytes and --max-files may raise it to. A million nodes are about 500 MB of bookkeeping. */
export const MOUNT_BYTES_MAX = 1024 * MIB;
export const MOUNT_FILES_MAX = 1_000_000;

/** Bundles of one mount. Each has a watch of its own, and a generation is composed of all of them. */
export const PARTS_MAX = 16;

/** Nodes of a generation: every file that may be mounted, and the root. */
export const GENERATION_NODES_MAX = MOUNT_FILES_MAX + 1;
/** What describes them. A million nodes take 68 MB, and names of 30 bytes 30 MB more. */
export const GENERATION_METADATA_BYTES_MAX = 1024 * MIB;

/**
 * Superseded generations that open files keep. Each is as large as its bundle, and locked; a program that leaks a
 * descriptor at every reload must not fill the memory. The oldest is let go of first: its readers get ESTALE.
 */
export const LINGERING_GENERATIONS_MAX = 8;

/**
 * The same in the store of the kernel driver, where unpinned ones go within a second: as many as the control page has
 * room for, less what is added before the oldest is let go of.
 */
export const LINGERING_IN_STORE_MAX = 60;

/** Of a node of a generation: its record, its place in the index, its name and a target; the latter two are far smaller mostly. */
const NODE_BYTES_MAX = 64 + 4 + 255 + 4095;
/** Of one name that changed: kind, length and inode number, and its path. */
const CHANGE_BYTES_MAX = 16 + 4095;

/** Everything of a generation but its contents. */
export function metadataBytesMax(nodes: number): number {
  return Math.min(GENERATION_METADATA_BYTES_MAX, 4096 + nodes * NODE_BYTES_MAX);
}

/** A list of changes: each of so many names once removed and once added, as operation and as file, and their inode numbers. */
export function changesBytesMax(nodes: number): number {
  return Math.min(512 * MIB, 4096 + 2 * nodes * (2 * CHANGE_BYTES_MAX + 2 * 8));
}

/** What --memory-max may be. It bounds typing errors, nothing else: the machine's own limits are looked at besides. */
export const MEMORY_BYTES_MAX = 1024 * 1024 * MIB;
/** Three users from --uid-base on; (uid_t)-1 and the 16-bit overflow ids are no users. */
export const UID_BASE_MAX = 0x7fff_fff0;

/** Directories in directories. Deeper than any real tree, shallow enough for every recursive tool. */
export const DEPTH_MAX = 64;
/** Linux: NAME_MAX and PATH_MAX less its NUL. */
export const FILE_NAME_BYTES_MAX = 255;
export const PATH_BYTES_MAX = 4095;
/** As Linux: following more ends in ELOOP. */
export const SYMLINKS_FOLLOWED_MAX = 40;
/**
 * Bytes of targets, in one archive: of the symlinks that go up again after a name, and of those on their way. A server walks them
 * while its readers wait: 42 MB took it 8 s (measured).
 */
export const SYMLINK_WALK_BYTES_MAX = 256 * KIB;

/**
 * Of one extended header of a tar ("x", "g", "L", "K"). A path and a target are 4,095 bytes each, and Linux allows 64 KiB
 * of extended attributes only on few filesystems; tar-stream's own cap of 4 MiB is 450,000 records.
 */
export const EXTENDED_HEADER_BYTES_MAX = 64 * KIB;
/** Records of one. tar-stream merges global ones into every member: many would be quadratic. GNU tar writes ten. */
export const EXTENDED_HEADER_RECORDS_MAX = 256;
/** Global ones of an archive. git archive writes one, GNU tar at most one, tars put together have a few. */
export const GLOBAL_EXTENDED_HEADERS_MAX = 8;

/** What a sealed message of `plaintextBytes` may take: header, signature and 32 bytes a frame. */
export function bundleBytesMax(plaintextBytes: number): number {
  return plaintextBytes + HEADER_BYTES_MAX + 32 * (2 + Math.ceil(plaintextBytes / FRAME_BYTES_MIN)) + 4 * KIB;
}

/** A tar of so much content in so many files: a header, padding and perhaps a long name for each. */
export function tarBytesMax({
  bytesMax,
  filesMax,
}: {
  readonly bytesMax: number;
  readonly filesMax: number;
}): number {
  return bytesMax + 2048 * filesMax + 10_240;
}

/** What is read of one object of a store. */
export const STORED_BYTES_MAX = bundleBytesMax(SECRET_BYTES_MAX);
