/** The policy of a key as a person hands it over. What it means is for KMS to judge; here, that it is a policy at all. */
import { Buffer } from 'node:buffer';
import { quote, UsageError } from '../errors.ts';
import { KEY_POLICY_BYTES_MAX } from './key-policy.ts';

/** The document, as JSON has it. `from` is for messages: a file's name. Throws UsageError. */
export function parsePolicyText(bytes: Uint8Array, from: string): object {
  const refuse = (why: string, hint: string) =>
    new UsageError(`cannot use the policy of ${quote(from)}: ${why}`, { hint });
  if (bytes.length > KEY_POLICY_BYTES_MAX) {
    throw refuse(
      `it is more than ${KEY_POLICY_BYTES_MAX} bytes`,
      'KMS takes no larger one: leave blanks out, or name fewer',
    );
  }
  let document: unknown;
  try {
    document = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    throw refuse('it is not JSON', 'secretsfs keys policy KEY prints one that is');
  }
  const { Statement } = (typeof document === 'object' && document !== null ? document : {}) as {
    Statement?: unknown;
  };
  const statements = Array.isArray(Statement) ? Statement : [Statement];
  const whole =
    statements.length > 0 &&
    statements.every((each) => typeof each === 'object' && each !== null && 'Effect' in each);
  if (whole) return document as object;
  throw refuse('it has no Statement with an Effect', 'secretsfs keys policy KEY prints what one looks like');
}
