/**
 * The pairs of a message's encryption context that are ours (docs/format.md): which there are, and what they may hold.
 * All of it is read before any key is asked, so nothing of it is authenticated yet.
 */
import { BundleError, quote } from '../errors.ts';
import { KINDS, type Kind } from './kind.ts';
import { type MessageHeader, PUBLIC_KEY_PAIR } from './message.ts';
import { isPublicKey } from './signature.ts';

export const NAME_PAIR = 'secretsfs-name';
export const SERIAL_PAIR = 'secretsfs-serial';
export const CREATED_PAIR = 'secretsfs-created';
export const FORMAT_PAIR = 'secretsfs-format';
/** Of a single secret: the full place that it was sealed for. */
export const PATH_PAIR = 'secretsfs-path';
/** Of a single secret: a keyed hash of its content, where its author wanted one. */
export const HASH_PAIR = 'secretsfs-hash';

const CREATED = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z$/;

export interface OwnPairs {
  /** Throws bundle-format where it is missing or not `valid`. */
  required(key: string, valid: (value: string) => boolean, want: string): string;
  /** The same, but it may be missing. */
  optional(key: string, valid: (value: string) => boolean, want: string): string | undefined;
  readonly created: string;
  /** What is the author's own. */
  readonly context: Readonly<Record<string, string>>;
}

/**
 * The pairs of a message that must be of `kind`, which may have those of `known` beside its format and its time. Throws
 * BundleError bundle-format for another kind, an unknown secretsfs-* pair, or no usable signing key.
 */
export function ownPairs(message: MessageHeader, kind: Kind, known: readonly string[]): OwnPairs {
  const pairs = message.encryptionContext;
  const malformed = (why: string, hint = `have its author seal it again with: ${kind.maker}`) =>
    new BundleError('bundle-format', `cannot accept ${kind.noun}: ${why}`, { hint });
  requireFormat(pairs.get(FORMAT_PAIR), kind, malformed);
  const ours = [FORMAT_PAIR, CREATED_PAIR, ...known];
  const unknown = [...pairs.keys()].find((key) => key.startsWith('secretsfs-') && !ours.includes(key));
  if (unknown !== undefined) {
    throw malformed(
      `it has an unknown ${quote(unknown)} in its context`,
      'it may need a newer version of secretsfs',
    );
  }
  if (!isPublicKey(pairs.get(PUBLIC_KEY_PAIR))) {
    throw malformed(`it has no usable ${PUBLIC_KEY_PAIR} in its context`);
  }
  const optional: OwnPairs['optional'] = (key, valid, want) => {
    const value = pairs.get(key);
    if (value !== undefined && !valid(value)) throw malformed(`${key} is ${quote(value)}, want ${want}`);
    return value;
  };
  const required: OwnPairs['required'] = (key, valid, want) => {
    const value = optional(key, valid, want);
    if (value === undefined) throw malformed(`it has no ${key} in its context`);
    return value;
  };
  return {
    required,
    optional,
    created: required(CREATED_PAIR, isCreated, 'a time as in 2026-01-31T12:00:00Z'),
    context: Object.fromEntries([...pairs].filter(([key]) => !ours.includes(key) && key !== PUBLIC_KEY_PAIR)),
  };
}

function requireFormat(
  format: string | undefined,
  kind: Kind,
  malformed: (why: string, hint?: string) => BundleError,
): void {
  if (format === kind.format) return;
  if (format === undefined) {
    throw malformed(`it has no ${FORMAT_PAIR} in its context`, `it was not made by: ${kind.maker}`);
  }
  const other = KINDS.find((each) => each.format === format);
  throw other === undefined
    ? malformed(
        `${FORMAT_PAIR} is ${quote(format)}, want ${quote(kind.format)}`,
        'it may need a newer version of secretsfs',
      )
    : malformed(`it is a ${other.noun} (${FORMAT_PAIR} is ${quote(format)})`, other.opener);
}

function isCreated(text: string): boolean {
  return CREATED.test(text) && !Number.isNaN(Date.parse(text));
}
