/** Below which newest versions the older ones may be removed: an older one may be all that there is of a secret. */
import type { AwsAccess } from '../aws/access.ts';
import { SecretsfsError, SourceError } from '../errors.ts';
import { openUnwrapping } from '../keyring/keyring.ts';
import type { KeyFacts } from '../keys/key-facts.ts';
import type { Use } from '../keys/usage.ts';
import { openSecret } from '../secrets/secret.ts';
import { openBundle } from './bundles.ts';
import type { Context } from './command.ts';
import { opening, pathOf, storeOf } from './used-places.ts';

/** Whether what is newest opens with the new key, proven by opening it. */
export class NewestVersions {
  readonly #to: KeyFacts;
  readonly #aws: AwsAccess;
  readonly #context: Context;
  readonly #refusals = new Map<string, Promise<string | undefined>>();

  constructor({ to, aws }: { readonly to: KeyFacts; readonly aws: AwsAccess }, context: Context) {
    this.#to = to;
    this.#aws = aws;
    this.#context = context;
  }

  /** As if what is newest there had been brought under the new key already: of a dry run. */
  suppose(use: Use): void {
    this.#refusals.set(idOf(use), Promise.resolve(undefined));
  }

  /** Why it does not, where it does not. Each place is opened once. Throws ConfigError. */
  refusal(use: Use): Promise<string | undefined> {
    const id = idOf(use);
    const known = this.#refusals.get(id);
    if (known !== undefined) return known;
    const refusal = this.#open(use).then(
      () => undefined,
      (error: unknown) => {
        if (error instanceof SecretsfsError && error.exitCode !== 3)
          return `${error.message} (${error.code})`;
        throw error;
      },
    );
    this.#refusals.set(id, refusal);
    return refusal;
  }

  async #open(use: Use): Promise<void> {
    const [to, aws] = [this.#to.arn.text, this.#aws];
    if (use.what === 'bundle') {
      const { plaintext } = await openBundle(opening(use.location, to, this.#context));
      plaintext.fill(0);
      return;
    }
    const store = storeOf(use, aws);
    const stored = await store.read(pathOf(use));
    if (stored === undefined)
      throw new SourceError('source-not-found', 'it was removed: there is nothing newest');
    const reader = await openUnwrapping([to], aws);
    const location = store.locate(pathOf(use));
    const { plaintext } = await openSecret(stored.bytes, { ...reader, location });
    plaintext.fill(0);
  }
}

function idOf({ what, location }: Use): string {
  return `${what === 'bundle'} ${location}`;
}
