/**
 * The members of a tar, one by one, whatever they are: the part of reading that is the same for what is to be
 * mounted and for what is only listed. Decoding headers is tar-stream's; where an archive ends is decided here.
 *
 * tar-stream gets the whole tar as one chunk and is asked for headers only: contents are views of the tar, never
 * copies, so that wiping the tar wipes them.
 */
import { Buffer } from 'node:buffer';
import { extract, type Header } from 'tar-stream';
import { BundleError, quote, SecretsfsError } from '../errors.ts';
import { BLOCK_BYTES, checkExtendedHeaders, isSkippedBlock } from './extended.ts';
import { recognise } from './recognise.ts';

const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES);
const TYPEFLAG_OFFSET = 156;
const ID_MAX = 0xffff_fffe;
/** A few milliseconds' worth. */
const MEMBERS_BETWEEN_YIELDS = 256;

export interface Yielding {
  /** Awaited every few hundred members, so that a caller who serves others meanwhile can let them have their turn. */
  readonly yield?: (() => Promise<void>) | undefined;
}

export type MemberKind =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'hard link'
  | 'character device'
  | 'block device'
  | 'fifo'
  | 'contiguous file'
  | 'sparse file'
  | 'unknown';

export interface Member {
  /** As the tar has it, but for the slash that ends a directory's name. */
  readonly path: string;
  readonly kind: MemberKind;
  /** The type as the header's character, for what is unknown. */
  readonly typeflag: string;
  /** 12 bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** What a symlink or a hard link leads to. */
  readonly target: string | undefined;
  /** A view of the tar. */
  readonly data: Buffer;
}

const KINDS: Readonly<Record<string, MemberKind>> = {
  file: 'file',
  directory: 'directory',
  symlink: 'symlink',
  link: 'hard link',
  'character-device': 'character device',
  'block-device': 'block device',
  fifo: 'fifo',
  'contiguous-file': 'contiguous file',
};

export const notATar = (why: string, cause?: unknown) =>
  new BundleError('archive-invalid', `cannot read archive: ${why}`, {
    hint: 'it must be a complete tar, not compressed, as "tar -C DIR -c ." writes it',
    cause,
  });

/**
 * Yields every member up to the end-of-archive marker, a block of zeros. A tar without the marker was cut short
 * between two members, perhaps, and is refused; so is one where anything but zeros follows it, where two readers
 * would see two archives, unless `tailAllowed`. Throws BundleError archive-invalid.
 *
 * tar-stream stops at each member until it is asked for the next: what lies between is checked before it is asked.
 */
export async function* membersOf(
  tar: Buffer,
  tailAllowed: boolean,
  pauses: Yielding = {},
): AsyncGenerator<Member, void, undefined> {
  if (tar.length === 0) throw notATar('it is empty');
  let end = 0;
  let count = 0;
  let globals = 0;
  /** Where the next member's header is; undefined where the archive ends. */
  const next = (): number | undefined => {
    const extended = checkExtendedHeaders(tar, end, globals);
    globals = extended.globals;
    if (isMarker(tar, extended.end)) {
      if (extended.memberExpected) throw notATar('it is cut short: an extended header has no member');
      end = extended.end;
      return undefined;
    }
    if (isSkippedBlock(tar, extended.end)) throw new Error(`no header at byte ${extended.end}`);
    return extended.end;
  };
  // Its types lack the option: a header with a right checksum is one, also from before POSIX.
  const options = { allowUnknownFormat: true };
  const reader = extract(options as Parameters<typeof extract>[0]);
  try {
    let expected = next();
    if (expected !== undefined) {
      reader.end(tar);
      for await (const entry of reader) {
        entry.resume();
        const from = byteOffsetOf(entry.header);
        if (from !== expected + BLOCK_BYTES) {
          throw new Error(`a header at byte ${from - BLOCK_BYTES}, want it at ${expected}`);
        }
        const member = memberOf(tar, entry.header);
        end = from + Math.ceil(member.data.length / BLOCK_BYTES) * BLOCK_BYTES;
        yield member;
        count++;
        if (count % MEMBERS_BETWEEN_YIELDS === 0) await pauses.yield?.();
        expected = next();
        if (expected === undefined) break;
      }
    }
  } catch (error) {
    if (error instanceof SecretsfsError) throw error;
    const guess = end === 0 ? recognise(tar) : undefined;
    if (end > 0 || guess?.what === 'a plain tar') {
      throw notATar(`it is damaged or cut short after byte ${end}`, error);
    }
    throw notATar(`it is ${guess?.what ?? 'not a tar'}`, error);
  } finally {
    reader.destroy();
  }
  if (!isMarker(tar, end)) throw notATar('it is cut short: it has no end-of-archive marker');
  if (!tailAllowed && !isZero(tar.subarray(end)))
    throw notATar('something follows its end-of-archive marker');
}

function isMarker(tar: Buffer, at: number): boolean {
  return at + BLOCK_BYTES <= tar.length && ZERO_BLOCK.equals(tar.subarray(at, at + BLOCK_BYTES));
}

function isZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    const block = bytes.subarray(at, at + BLOCK_BYTES);
    if (!ZERO_BLOCK.subarray(0, block.length).equals(block)) return false;
  }
  return true;
}

/** Where a member's contents begin; tar-stream's types do not have it. */
function byteOffsetOf(header: Header): number {
  return (header as Header & { byteOffset: number }).byteOffset;
}

function memberOf(tar: Buffer, header: Header): Member {
  const from = byteOffsetOf(header);
  const pax = (header.pax ?? {}) as Readonly<Record<string, string>>;
  const typeflag = String.fromCharCode(tar.readUInt8(from - BLOCK_BYTES + TYPEFLAG_OFFSET));
  let kind: MemberKind = KINDS[header.type ?? ''] ?? 'unknown';
  if (typeflag === 'S' || Object.keys(pax).some((key) => key.startsWith('GNU.sparse.'))) kind = 'sparse file';
  // Before POSIX, a directory was a file whose name ends in a slash; every tar still reads it so.
  if (kind === 'file' && header.name.endsWith('/')) kind = 'directory';

  const path = kind === 'directory' ? header.name.replace(/(?<=.)\/$/s, '') : header.name;
  const size = number(header.size, Number.MAX_SAFE_INTEGER, 'size', path);
  if (from + size > tar.length) throw notATar(`it is cut short inside ${quote(path)}`);
  if (kind === 'directory' && size !== 0) throw notATar(`${quote(path)} is a directory with contents`);
  return {
    path,
    kind,
    typeflag,
    mode: number(header.mode, Number.MAX_SAFE_INTEGER, 'mode', path) & 0o7777,
    uid: number(pax['uid'] ?? header.uid, ID_MAX, 'uid', path),
    gid: number(pax['gid'] ?? header.gid, ID_MAX, 'gid', path),
    target: header.linkname ?? undefined,
    data: tar.subarray(from, from + size),
  };
}

/** A number of a header, that may be malformed and is then null or NaN, or of a pax record, in decimal. */
function number(value: unknown, max: number, field: string, path: string): number {
  const parsed = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
  // -0 is what tar-stream makes of the binary -1.
  const valid = Number.isInteger(parsed) && !Object.is(parsed, -0);
  if (valid && typeof parsed === 'number' && parsed >= 0 && parsed <= max) return parsed;
  throw notATar(`${quote(path)} has a malformed ${field}`);
}
