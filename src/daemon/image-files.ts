/** Images as unsealer and composer read and write them: through the descriptors that they were given. */
import { fstatSync, readSync, writevSync } from 'node:fs';
import { MountError } from '../errors.ts';
import type { Plan } from '../generation/build.ts';
import { type ChangeList, encodeChanges } from '../generation/changes.ts';
import { HEADER_BYTES } from '../generation/format.ts';
import { Generation, GenerationError } from '../generation/generation.ts';

/** Buffers of one writev(2): IOV_MAX is 1,024. */
const WRITTEN_AT_ONCE = 512;

export interface ImageFiles {
  readonly candidateFd: number;
  readonly changesFd: number;
}

/** What is said of an image that was written. */
export interface WrittenImage {
  readonly files: number;
  readonly directories: number;
  readonly symlinks: number;
  readonly contentBytes: number;
  readonly counts: ChangeList['counts'];
}

/**
 * Contents, metadata, changes, and the header last: what was cut off anywhere is no image. Wipes the plan's metadata. Throws
 * MountError memory-exceeded where it can't be written.
 */
export function writePlan(
  { metadata, contents, changes }: Plan,
  { candidateFd, changesFd }: ImageFiles,
): WrittenImage {
  const encoded = encodeChanges(changes);
  try {
    const first = contents[0];
    if (first !== undefined) {
      // They follow each other without gaps.
      writeAll(
        candidateFd,
        contents.map(({ data }) => data),
        first.position,
      );
    }
    writeAll(candidateFd, [metadata.subarray(HEADER_BYTES)], HEADER_BYTES);
    writeAll(changesFd, [encoded], 0);
    writeAll(candidateFd, [metadata.subarray(0, HEADER_BYTES)], 0);
    const { files, directories, symlinks, contentBytes } = Generation.open(metadata, { read: () => 0 });
    const { counts } = changes;
    return { files, directories, symlinks, contentBytes, counts };
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    throw new MountError('memory-exceeded', `cannot write the generation: ${syscall} failed: ${code}`, {
      hint: 'look at the memory of the machine and of the unit',
      cause: error,
    });
  } finally {
    metadata.fill(0);
    encoded.fill(0);
  }
}

/** The metadata is the caller's to wipe. */
export interface OpenImage {
  readonly generation: Generation;
  readonly metadata: Buffer;
}

/** An image that somebody else wrote, checked. Throws GenerationError for what is none. */
export function openImage(fd: number): OpenImage {
  const bytes = fstatSync(fd).size;
  const read = (position: number, length: number, target: Uint8Array, at: number) =>
    readSync(fd, target, at, length, position);
  const header = Buffer.alloc(HEADER_BYTES);
  read(0, HEADER_BYTES, header, 0);
  const metadataBytes = Generation.metadataBytes(header);
  if (metadataBytes > bytes) throw new GenerationError('invalid', 'size');
  const metadata = Buffer.alloc(metadataBytes);
  read(0, metadata.length, metadata, 0);
  return { generation: Generation.open(metadata, { bytes, read }), metadata };
}

/**
 * The image that the next one follows, whose inodes go on; undefined where there is none. Throws MountError unsealer-failed
 * for one of another version.
 */
export function openPrevious(fd: number): OpenImage | undefined {
  if (!fstatSync(fd).isFile()) return undefined;
  try {
    return openImage(fd);
  } catch (error) {
    if (!(error instanceof GenerationError)) throw error;
    // Inode numbers must never be used again, and only it knows which were.
    throw new MountError('unsealer-failed', 'cannot follow the live generation: it is of another version', {
      hint: 'secretsfs upgrade brings all processes to one version',
      cause: error,
    });
  }
}

/** All of `buffers`, one after the other, from `position` on. */
function writeAll(fd: number, buffers: readonly Uint8Array[], position: number): void {
  let at = position;
  for (let i = 0; i < buffers.length; ) {
    const batch = buffers.slice(i, i + WRITTEN_AT_ONCE);
    i += batch.length;
    while (batch.length > 0) {
      let written = writevSync(fd, batch, at);
      at += written;
      while (batch[0] !== undefined && written >= batch[0].length) {
        written -= batch[0].length;
        batch.shift();
      }
      if (batch[0] !== undefined) batch[0] = batch[0].subarray(written);
    }
  }
}
