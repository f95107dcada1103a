/** Bundles for tests: a key that is always the same, and sealing with whatever a test wants to be wrong. */
import { Buffer } from 'node:buffer';
import { type SealOptions, seal } from '../../src/bundle/seal.ts';
import { SecretsfsError } from '../../src/errors.ts';
import { localKeyring } from '../../src/keyring/local.ts';

export const KEY = Buffer.alloc(32, 'a key that is used by tests only');
export const OTHER_KEY = Buffer.alloc(32, 'another key, by tests only, too.');

export const CREATED = new Date('2026-11-05T10:20:30.456Z');

export function sealTest(plaintext: Uint8Array, options: Partial<SealOptions> = {}): Promise<Buffer> {
  const { keyring } = localKeyring(KEY);
  return seal(plaintext, { keyring, name: 'web', serial: 7, created: CREATED, ...options });
}

/** For assert.throws() and assert.rejects(): a SecretsfsError with this code, one line, and a hint that says something. */
export function refusal(code: string, message?: RegExp) {
  return (error: unknown): true => {
    if (!(error instanceof SecretsfsError)) throw error;
    const problems = [
      error.code === code ? undefined : `code is ${error.code}, want ${code}`,
      message === undefined || message.test(error.message) ? undefined : `message does not match ${message}`,
      /\n/.test(`${error.message}${error.hint ?? ''}`) ? 'more than a line' : undefined,
      /^[a-z]/.test(error.message) && !error.message.endsWith('.')
        ? undefined
        : 'not in the style of messages',
      error.code !== 'usage' && error.hint === undefined ? 'no hint' : undefined,
    ].filter((problem) => problem !== undefined);
    if (problems.length > 0) throw new Error(`${problems.join('; ')}: ${error.message}`, { cause: error });
    return true;
  };
}

/** What an attempt ended with: its error's code, 'accepted', or the name of what should never be thrown. */
export async function outcome(attempt: () => unknown): Promise<string> {
  try {
    await attempt();
    return 'accepted';
  } catch (error) {
    return error instanceof SecretsfsError ? error.code : `not a SecretsfsError: ${String(error)}`;
  }
}
