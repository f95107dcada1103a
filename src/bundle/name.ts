/**
 * A bundle's name and the author's own pairs of its encryption context: both end up in key policies, in CloudTrail
 * and in messages, so what they may be is narrow and the same for who writes and who reads.
 */
import { Buffer } from 'node:buffer';
import { quote, UsageError } from '../errors.ts';
import { CONTEXT_BYTES_MAX, CONTEXT_PAIRS_MAX, CONTEXT_TEXT_MAX, NAME_LENGTH_MAX } from '../limits.ts';

const NAME = new RegExp(`^[A-Za-z0-9][A-Za-z0-9._-]{0,${NAME_LENGTH_MAX - 1}}$`);

/** Prefixes of pairs that are not the author's: ours, and what the AWS Encryption SDK and KMS keep for themselves. */
const RESERVED = ['secretsfs-', 'aws-', 'aws:'] as const;

export function isName(text: string): boolean {
  return NAME.test(text);
}

const PAIRS = 'write --context key=value, once for each pair, or --context a=1,b=2';

/** Returns the name (of a bundle, unless `what` says otherwise), or throws UsageError. */
export function validateName(name: string, what = 'a bundle'): string {
  if (isName(name)) return name;
  throw new UsageError(`cannot use ${quote(name)} as the name of ${what}`, {
    hint: `a name is 1 to ${NAME_LENGTH_MAX} letters, digits, ".", "_" and "-", and begins with a letter or a digit`,
  });
}

/**
 * The pairs of --context: each argument is `k=v` or several with commas between, `a=1,b=2`. A value may hold "=", a
 * key may not; neither can hold a comma. Throws UsageError, naming the pair.
 */
export function parseContext(args: readonly string[]): Record<string, string> {
  const pairs = new Map<string, string>();
  for (const text of args.flatMap((argument) => argument.split(','))) {
    const at = text.indexOf('=');
    if (at === -1) {
      throw new UsageError(`cannot use context ${quote(text)}: want key=value`, {
        hint: PAIRS,
      });
    }
    const key = text.slice(0, at);
    if (pairs.has(key))
      throw new UsageError(`cannot use context ${quote(text)}: key is given twice`, { hint: PAIRS });
    pairs.set(key, text.slice(at + 1));
  }
  const context = Object.fromEntries(pairs);
  validateContext(context);
  return context;
}

/** Throws UsageError for a pair that no bundle may carry as its author's own. */
export function validateContext(context: Readonly<Record<string, string>>): void {
  const pairs = Object.entries(context);
  if (pairs.length > CONTEXT_PAIRS_MAX) {
    throw new UsageError(
      `cannot use ${pairs.length} context pairs: at most ${CONTEXT_PAIRS_MAX} are allowed`,
      { hint: 'leave some out' },
    );
  }
  const total = pairs.reduce(
    (sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value),
    0,
  );
  if (total > CONTEXT_BYTES_MAX) {
    throw new UsageError(
      `cannot use context: its pairs are ${total} bytes, want at most ${CONTEXT_BYTES_MAX}`,
      { hint: 'leave some out, or make them shorter' },
    );
  }
  for (const [key, value] of pairs) {
    const refuse = (why: string, hint = PAIRS) => {
      throw new UsageError(`cannot use context ${quote(`${key}=${value}`)}: ${why}`, { hint });
    };
    // KMS refuses both with a message that names neither.
    if (key === '') refuse('key is empty');
    if (value === '') refuse('value is empty');
    const reserved = RESERVED.find((prefix) => key.toLowerCase().startsWith(prefix));
    if (reserved !== undefined) {
      refuse(`keys that begin with "${reserved}" are reserved`, 'choose another key for this pair');
    }
    for (const text of [key, value]) {
      // A lone surrogate would become another character on its way.
      if (Buffer.from(text).toString() !== text || text.includes('\u0000')) refuse('it is not plain text');
      const bytes = Buffer.byteLength(text);
      if (bytes > CONTEXT_TEXT_MAX) {
        refuse(`${text === key ? 'key' : 'value'} is ${bytes} bytes, want at most ${CONTEXT_TEXT_MAX}`);
      }
    }
  }
}
