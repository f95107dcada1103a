/**
 * Bytes ⇄ entries: the tar inside a bundle. Reading for a mount is strict; listing takes any tar there is. Which rules
 * there are, and why: docs/format.md; tree.ts has them.
 */
import { Buffer } from 'node:buffer';
import { pack } from 'tar-stream';
import { BundleError } from '../errors.ts';
import { type MemberKind, membersOf, type Yielding } from './tar.ts';
import { type ArchiveEntry, ArchiveTree } from './tree.ts';

export type { ArchiveEntry } from './tree.ts';

/** Problems that lintArchive() names; of more, it says how many. */
const PROBLEMS_MAX = 50;
/** What tar-stream's ustar fields hold: six octal digits. Larger ones go into a pax record. */
const USTAR_ID_MAX = 0o777777;
/** A mode of 0 would be taken for a missing one; these bits are masked off when it is written. */
const REGULAR_FILE_BITS = 0o100000;

/** Symlinks checked between two turns of others. */
const SYMLINKS_BETWEEN_YIELDS = 256;

export interface ArchiveLimits extends Yielding {
  /** Of files, symlinks and directories together, also of those directories that only a path tells of. */
  readonly filesMax: number;
  /** Of all contents together. */
  readonly bytesMax: number;
}

/** What lists need of a member, of any type. */
export interface ArchiveListing {
  /** As in the tar. */
  readonly path: string;
  readonly kind: MemberKind;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly target?: string;
}

/**
 * Reads a tar that is to be mounted. Entries come depth first, directories before what is in them, and those that are
 * only implied are there too. `data` are views of `tar`: the caller must not keep them past its wipe.
 * Throws BundleError: archive-invalid (not a tar, cut short), archive-refused (a rule), archive-too-large.
 */
export async function readArchive(tar: Buffer, limits: ArchiveLimits): Promise<ArchiveEntry[]> {
  const tree = new ArchiveTree();
  for await (const problem of problemsOf(tar, limits, tree)) throw problem;
  return tree.entries();
}

/**
 * Everything that would make readArchive() refuse, in the order of the tar, each as one line. None: it can be mounted.
 * Never throws for what is in the tar. Beyond `filesMax` it looks only for damage, and says so in the last line: it must
 * not hold what readArchive() would not.
 */
export async function lintArchive(tar: Buffer, limits: ArchiveLimits): Promise<string[]> {
  const lines: string[] = [];
  const tree = new ArchiveTree();
  let more = 0;
  try {
    for await (const problem of problemsOf(tar, limits, tree)) {
      if (lines.length < PROBLEMS_MAX) lines.push(problem.message.replace(/^cannot accept archive: /, ''));
      else more++;
    }
  } catch (error) {
    if (!(error instanceof BundleError)) throw error;
    lines.push(error.message);
  }
  if (more > 0) lines.push(`and ${more} more`);
  if (tree.nodes > limits.filesMax) {
    lines.push(`what comes after its first ${limits.filesMax} files and directories was not checked`);
  }
  return lines;
}

async function* problemsOf(
  tar: Buffer,
  limits: ArchiveLimits,
  tree: ArchiveTree,
): AsyncGenerator<BundleError, void, undefined> {
  let tooLarge = false;
  for await (const member of membersOf(tar, false, limits)) {
    if (tree.nodes > limits.filesMax) continue;
    const problem = tree.add(member);
    if (problem !== undefined) yield refused(problem);
    if (tree.nodes > limits.filesMax) {
      yield overLimit(`it has over ${limits.filesMax} files and directories`, '--max-files');
    }
    if (!tooLarge && tree.contentBytes > limits.bytesMax) {
      tooLarge = true;
      yield overLimit(`its files hold more than ${limits.bytesMax} bytes`, '--max-bytes');
    }
  }
  // Where a symlink leads is known of a whole tree only.
  if (tree.nodes > limits.filesMax) return;
  let symlinks = 0;
  for (const problem of tree.symlinkProblems()) {
    if (problem !== undefined) yield refused(problem);
    symlinks++;
    if (symlinks % SYMLINKS_BETWEEN_YIELDS === 0) await limits.yield?.();
  }
}

const refused = (problem: string) =>
  new BundleError('archive-refused', `cannot accept archive: ${problem}`, {
    hint: 'a mount takes files, directories and symlinks, all inside its tree: leave this one out of the archive',
  });

const overLimit = (problem: string, option: string) =>
  new BundleError('archive-too-large', `cannot accept archive: ${problem}`, {
    hint: `allow more with ${option} where the memory is there, or make two bundles of it`,
  });

/**
 * Every member of any tar, in its order, also what can't be mounted: one small record for each, so that its memory is
 * at most in proportion to the tar's. Throws BundleError archive-invalid.
 */
export async function listArchive(tar: Buffer, pauses: Yielding = {}): Promise<ArchiveListing[]> {
  const listings: ArchiveListing[] = [];
  for await (const { path, kind, mode, uid, gid, data, target } of membersOf(tar, true, pauses)) {
    listings.push({
      path,
      kind,
      mode,
      uid,
      gid,
      size: data.length,
      ...(target === undefined ? {} : { target }),
    });
  }
  return listings;
}

/**
 * Writes entries as a tar, in their order; the same entries always give the same bytes. Times are 0: a mount's come
 * from the rotation. The tar is the caller's to wipe, and holds the only copy of the contents that is made.
 */
export async function writeArchive(entries: Iterable<ArchiveEntry>): Promise<Buffer> {
  const writer = pack();
  const chunks: Buffer[] = [];
  const ended = new Promise<void>((resolve, reject) => {
    writer.on('data', (chunk) => chunks.push(chunk as Buffer));
    writer.once('end', resolve);
    writer.once('error', reject);
  });
  // When an entry fails, that is what is thrown.
  ended.catch(() => undefined);
  // One at a time: tar-stream's queue of waiting entries is quadratic.
  for (const entry of entries) {
    const { header, data } = headerOf(entry);
    await new Promise<void>((resolve, reject) => {
      writer.entry(header, data, (error) => (error ? reject(error) : resolve()));
    });
  }
  writer.finalize();
  await ended;
  return Buffer.concat(chunks);
}

function headerOf(entry: ArchiveEntry): {
  header: Parameters<ReturnType<typeof pack>['entry']>[0];
  data: Buffer;
} {
  const { path, mode, uid, gid, kind } = entry;
  const large = Object.entries({ uid, gid }).filter(([, id]) => id > USTAR_ID_MAX);
  const header = {
    name: kind === 'directory' ? `${path}/` : path,
    type: kind,
    mode: REGULAR_FILE_BITS | mode,
    uid: uid > USTAR_ID_MAX ? 0 : uid,
    gid: gid > USTAR_ID_MAX ? 0 : gid,
    mtime: new Date(0),
    ...(kind === 'symlink' ? { linkname: entry.target } : {}),
    ...(large.length === 0 ? {} : { pax: Object.fromEntries(large.map(([key, id]) => [key, String(id)])) }),
  };
  return { header, data: kind === 'file' ? asBuffer(entry.data) : Buffer.alloc(0) };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
