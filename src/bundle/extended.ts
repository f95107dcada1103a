/**
 * Extended headers of a tar, checked before tar-stream sees them: pax ("x", "g": POSIX.1-2017, pax, "pax Interchange
 * Format") and GNU ("L", "K", and "N" of old, for long names and targets). tar-stream decodes all it meets between two
 * members at once, and merges the last "g" into each "x": hundreds of thousands of records are decoded in one go.
 *
 * Invariant: whatever lies between two members is small, few, and means the same to tar-stream and to other readers.
 */
import { Buffer } from 'node:buffer';
import { BundleError } from '../errors.ts';
import {
  EXTENDED_HEADER_BYTES_MAX,
  EXTENDED_HEADER_RECORDS_MAX,
  GLOBAL_EXTENDED_HEADERS_MAX,
} from '../limits.ts';

export const BLOCK_BYTES = 512;
const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES);
const SIZE = { from: 124, to: 136 };
const CHECKSUM = { from: 148, to: 156 };
const TYPEFLAG_OFFSET = 156;

const SPACE = 0x20;
const NEWLINE = 0x0a;
const EQUALS = 0x3d;

/** By typeflag, what it is for: of each there may be one a member. */
const PURPOSES: Readonly<Record<string, string>> = {
  x: 'pax',
  g: 'global pax',
  L: 'GNU long name',
  N: 'GNU long name',
  K: 'GNU long target',
};
/** Records that say which member it is: as global ones, tar-stream heeds them only before an "x", others always. */
const OF_ONE_MEMBER: ReadonlySet<string> = new Set(['path', 'linkpath', 'size']);

export interface ExtendedHeaders {
  /** Where they end: at the next member's header, the end-of-archive marker, or what is neither. */
  readonly end: number;
  /** Of those up to here, how many were global. */
  readonly globals: number;
  /** Whether any of them is meant for the member that follows. */
  readonly memberExpected: boolean;
}

/**
 * Checks the extended headers of `tar` from `at` on, where a header must begin, up to the next member; `globals` is how
 * many global ones came before. Stops at what is no header, or is cut short, for tar-stream to report. The time it
 * takes is bounded by the caps, whatever the tar. Throws BundleError archive-invalid.
 */
export function checkExtendedHeaders(tar: Buffer, at: number, globals: number): ExtendedHeaders {
  const seen = new Set<string>();
  let end = at;
  for (;;) {
    const header = tar.subarray(end, end + BLOCK_BYTES);
    const purpose = PURPOSES[String.fromCharCode(header[TYPEFLAG_OFFSET] ?? 0)];
    if (header.length < BLOCK_BYTES || purpose === undefined || !isChecksumRight(header)) break;
    const bad = (why: string) => refused(`the ${purpose} header at byte ${end} ${why}`);

    const size = numberOf(header, SIZE);
    // tar-stream loses its place after one of 0 bytes, or of a size that is no number.
    if (!Number.isInteger(size) || size <= 0) throw bad('is empty, or its size is malformed');
    if (size > EXTENDED_HEADER_BYTES_MAX) {
      throw bad(`holds ${size} bytes, want at most ${EXTENDED_HEADER_BYTES_MAX}`);
    }
    if (purpose === 'global pax') {
      globals++;
      if (globals > GLOBAL_EXTENDED_HEADERS_MAX) {
        throw bad(`is one too many: an archive may have ${GLOBAL_EXTENDED_HEADERS_MAX}`);
      }
    } else {
      if (seen.has(purpose)) throw bad('is the second for one member');
      seen.add(purpose);
    }
    const payload = tar.subarray(end + BLOCK_BYTES, end + BLOCK_BYTES + size);
    if (payload.length < size) break;
    if (purpose === 'pax' || purpose === 'global pax') {
      const why = whyNotRecords(payload, purpose === 'global pax');
      if (why !== undefined) throw bad(why);
    }
    end += BLOCK_BYTES + Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
  }
  return { end, globals, memberExpected: seen.size > 0 };
}

/**
 * Whether tar-stream takes the block at `at` for one of zeros, and skips it: it does not look at the checksum's own
 * bytes.
 */
export function isSkippedBlock(tar: Buffer, at: number): boolean {
  const block = tar.subarray(at, at + BLOCK_BYTES);
  const after = block.subarray(CHECKSUM.to);
  return (
    block.length === BLOCK_BYTES &&
    ZERO_BLOCK.subarray(0, CHECKSUM.from).equals(block.subarray(0, CHECKSUM.from)) &&
    ZERO_BLOCK.subarray(0, after.length).equals(after)
  );
}

/** Records are "LENGTH KEY=VALUE\n", LENGTH in decimal and of all of that. */
function whyNotRecords(payload: Buffer, global: boolean): string | undefined {
  let count = 0;
  for (let at = 0; at < payload.length; ) {
    const space = payload.indexOf(SPACE, at);
    const digits = payload.toString('latin1', at, Math.max(at, space));
    const end = at + Number(digits);
    if (!/^\d{1,8}$/.test(digits) || end > payload.length || payload[end - 1] !== NEWLINE) {
      return 'has a record of a malformed length';
    }
    const equals = payload.subarray(0, end).indexOf(EQUALS, space);
    if (equals <= space + 1) return 'has a record without a key';
    const key = payload.toString('latin1', space + 1, equals);
    if (global && OF_ONE_MEMBER.has(key)) return `has a ${key}, which is one member's`;
    // tar-stream takes "3x" and " 3" for 3.
    if (key === 'size' && !/^\d+$/.test(payload.toString('latin1', equals + 1, end - 1))) {
      return 'has a size that is no number';
    }
    count++;
    if (count > EXTENDED_HEADER_RECORDS_MAX) return `has over ${EXTENDED_HEADER_RECORDS_MAX} pax records`;
    at = end;
  }
  return undefined;
}

function isChecksumRight(header: Buffer): boolean {
  let sum = (CHECKSUM.to - CHECKSUM.from) * SPACE;
  for (const [at, byte] of header.entries()) {
    if (at < CHECKSUM.from || at >= CHECKSUM.to) sum += byte;
  }
  return sum === numberOf(header, CHECKSUM);
}

/**
 * A number of a header, as tar-stream reads it: octal up to a space, or base-256 if the top bit is set. NaN for what is
 * neither, and for negative ones, which neither a size nor a checksum can be.
 */
function numberOf(header: Buffer, { from, to }: { readonly from: number; readonly to: number }): number {
  const field = header.subarray(from, to);
  const first = field[0] ?? 0;
  if (first === 0x80) return field.subarray(1).reduce((sum, byte) => sum * 256 + byte, 0);
  if (first > 0x80) return Number.NaN;
  const text = field.toString('latin1').replace(/^ +/, '').replace(/ .*$/s, '').replace(/^\0+/, '');
  return text === '' ? 0 : Number.parseInt(text, 8);
}

const refused = (why: string) =>
  new BundleError('archive-invalid', `cannot read archive: ${why}`, {
    hint: 'no tar program writes that: make the tar anew, as "tar -C DIR -c ." does',
  });
