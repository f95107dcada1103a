/**
 * Brings what a key wraps under another, one thing after another: a bundle is resealed with a higher serial, a secret rotated. Each
 * is replaced in one conditional step, and its other keys stay. Who is interrupted runs it again: what is done is no use of
 * the key any more. What can't be brought over here is left, with what can.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { AwsAccess } from '../aws/access.ts';
import type { EncryptedDataKeyInfo } from '../bundle/header.ts';
import { seal } from '../bundle/seal.ts';
import { quote, SecretsfsError, SourceError } from '../errors.ts';
import { openUnwrapping, openWrapping } from '../keyring/keyring.ts';
import type { KeyFacts } from '../keys/key-facts.ts';
import { canOpenNoMore, isNameOf, type Use } from '../keys/usage.ts';
import { rotateOne } from '../secrets/rotation.ts';
import { openSecret } from '../secrets/secret.ts';
import { openBundle } from './bundles.ts';
import type { Context } from './command.ts';
import type { NewestVersions } from './newest-versions.ts';
import { lookAtOutput } from './outputs.ts';
import { createOpener } from './secrets.ts';
import { nextSerial } from './serials.ts';
import { opening, pathOf, storeOf } from './used-places.ts';

export interface RetireRequest {
  readonly key: KeyFacts;
  readonly to: KeyFacts;
  readonly aws: AwsAccess;
  /** Older versions of what the key wraps are removed for good. */
  readonly purge: boolean;
  readonly dryRun: boolean;
  readonly newest: NewestVersions;
}

const NOT_PURGED = 'it is an older version, and goes only when what is newest there opens with the new key';

/** What S3 calls the one that was written while the bucket kept no versions. */
const UNVERSIONED = 'null';
const REPLACEABLE =
  'its version id is null, which a write replaces where versions are suspended, and the newest would go: aws s3api delete-object --version-id null, where nobody writes meanwhile';

export type Retired = Pick<Use, 'location' | 'version' | 'what'> & {
  /** `purged`: an older version, removed. */
  readonly outcome: 'resealed' | 'rotated' | 'purged' | 'left';
  /** Of what is left: why, and what to do. */
  readonly why: string | null;
};

/** What became of one use. Throws SecretsfsError only where it would be the same with every other: credentials, region. */
export async function retireUse(use: Use, request: RetireRequest, context: Context): Promise<Retired> {
  const { location, version, what } = use;
  const ended = (outcome: Retired['outcome'], why: string | null = null): Retired => {
    return { location, version, what, outcome, why };
  };
  const elsewhere = ELSEWHERE[what];
  try {
    if (!use.current) {
      if (!request.purge)
        return ended('left', 'it is an older version: --purge-versions removes it for good');
      // S3 has no condition for one version, and needs none: another id stands for the same bytes for ever.
      if (version === UNVERSIONED) return ended('left', REPLACEABLE);
      const refusal = await request.newest.refusal(use);
      if (refusal !== undefined) return ended('left', `${NOT_PURGED}: ${refusal}`);
      if (!request.dryRun) await storeOf(use, request.aws).remove(pathOf(use), 'any', version ?? undefined);
      return ended('purged');
    }
    if (elsewhere !== undefined) return ended('left', elsewhere);
    const file = use.others.find(({ state }) => state === 'file');
    if (file !== undefined && what === 'bundle') {
      return ended(
        'left',
        `it is sealed for the key file ${file.key}, too: secretsfs reseal with every --key that it is to have`,
      );
    }
    if (file !== undefined)
      return ended('left', `it is sealed for the key file ${file.key}, too: secretsfs rotate`);
    if (request.dryRun) await supposeRetired(use, request, context);
    else if (what === 'bundle') await resealBundle(use, request, context);
    else await rotateSecret(use, request);
    return ended(what === 'bundle' ? 'resealed' : 'rotated');
  } catch (error) {
    if (!(error instanceof SecretsfsError) || error.exitCode === 3) throw error;
    return ended(
      'left',
      `${error.message} (${error.code})${error.hint === undefined ? '' : `; ${error.hint}`}`,
    );
  }
}

/** What is brought over by other means, or not by us. */
const ELSEWHERE: Readonly<Partial<Record<Use['what'], string>>> = {
  message: 'another program made it: seal it again with that',
  sneaker: 'secretsfs rotate brings stored secrets of sneaker over; unpack and pack a pack',
  'kms-secrets': 'secretsfs unpack and pack bring it over',
  kms: 'secretsfs reencrypt brings it over',
  sse: 'S3 itself encrypts it: aws s3 cp it onto itself with another --sse-kms-key-id',
  bucket: 'aws s3api put-bucket-encryption with another key, for what is to come',
  grant: 'whose it is must stop to need it; then aws kms revoke-grant',
};

/**
 * What was looked at was a header that nothing authenticated; what was opened now is. Throws SourceError where that has other
 * keys: whoever writes there would choose who opens it from now on.
 */
function checkKept(
  keys: readonly EncryptedDataKeyInfo[] | undefined,
  { others, location }: Use,
  key: KeyFacts,
): void {
  const kept = keys?.filter(({ keyName }) => !isNameOf(key, keyName));
  const looked = others.map((each) => each.key);
  const isOfKms = kept?.every(({ providerId }) => providerId === 'aws-kms') === true;
  const names = new Set(kept?.map(({ keyName }) => keyName));
  if (isOfKms && names.size === new Set(looked).size && looked.every((name) => names.has(name))) return;
  throw changed(location, key);
}

function changed(location: string, key: KeyFacts): SourceError {
  return new SourceError(
    'source-changed',
    `cannot retire ${quote(key.arn.text)} in ${quote(location)}: it is not under the keys that it was under a moment ago`,
    { hint: 'somebody wrote it meanwhile: run the same command again' },
  );
}

/** Everything that is to open it from now on: the new key in place of the old, and the others that still can. */
function keysFor({ others }: Use, { to }: RetireRequest): string[] {
  const kept = others.filter(({ state }) => !canOpenNoMore(state)).map(({ key }) => key);
  return [...new Set([to.arn.text, ...kept])];
}

async function resealBundle(use: Use, request: RetireRequest, context: Context): Promise<void> {
  const { location } = use;
  const { aws, key } = request;
  const name = use.name ?? '';
  // What is replaced is what was looked at here: whoever writes meanwhile makes the write fail.
  const output = await lookAtOutput(context, location, { name, aws, force: false });
  const { header, plaintext } = await openBundle(opening(location, key.arn.text, context));
  try {
    checkKept(header.encryptedDataKeys, use, key);
    const nowMs = Date.now();
    const replaced = output.replaces?.serial ?? 0;
    const serial = nextSerial({
      verb: 'retire',
      out: location,
      chosen: undefined,
      nowMs,
      replaced,
      above: header.serial,
      force: false,
    });
    const { keyring } = await openWrapping(keysFor(use, request), aws);
    const { context: pairs } = header;
    const sealed = await seal(plaintext, {
      keyring,
      name: header.name,
      serial,
      context: pairs,
      created: new Date(nowMs),
    });
    await output.write(sealed);
  } finally {
    plaintext.fill(0);
  }
}

async function rotateSecret(use: Use, request: RetireRequest): Promise<void> {
  const { aws, key, to } = request;
  const store = storeOf(use, aws);
  const at = pathOf(use);
  const found = await store.read(at, { headBytes: 1 });
  if (found === undefined) return;
  const opener = await createOpener({ settings: { acceptKey: [key.arn.text] } }, store, aws);
  const keys = keysFor(use, request);
  const { keyring } = await openWrapping(keys, aws);
  const { accepted } = await openUnwrapping([key.arn.text], aws);
  const outcome = await rotateOne(
    { path: at, bytes: found.size, modifiedMs: found.modifiedMs, etag: found.etag },
    {
      ...{ store, keyring, keyNames: keys, purge: false, dryRun: false },
      open: async (path, stored) => {
        const { plaintext, header } =
          stored === undefined ? await opener.open(path) : await opener.openRead(path, stored);
        try {
          // What is of an old format now was none of that when it was looked at.
          checkKept(header?.encryptedDataKeys, use, key);
          return { plaintext, context: header?.context ?? {} };
        } catch (error) {
          plaintext.fill(0);
          throw error;
        }
      },
      proveDone: async (_path, { bytes }) => {
        const reader = await openUnwrapping([to.arn.text], aws);
        const { plaintext } = await openSecret(bytes, { ...reader, location: store.locate(at) });
        plaintext.fill(0);
      },
      concerns: ({ encryptedDataKeys }) =>
        encryptedDataKeys.some((each) => accepted[0]?.accepts(each) === true),
      journal: { startedMs: Date.now(), has: () => false, add: () => undefined },
      now: () => Date.now(),
      pause: (ms) => sleep(ms),
    },
  );
  if (outcome.outcome === 'failed') throw outcome.error;
  if (outcome.outcome === 'other-keys') throw changed(use.location, key);
}

/** Changes nothing, and throws what could not be written. */
async function supposeRetired(use: Use, { aws, newest }: RetireRequest, context: Context): Promise<void> {
  const { location, what, name } = use;
  if (what === 'bundle')
    await (await lookAtOutput(context, location, { name: name ?? '', aws, force: false })).check();
  else await storeOf(use, aws).check(pathOf(use), 'write');
  newest.suppose(use);
}

/** Seals something with the new key and opens it, before anything is replaced. Throws KeyError where either can't be. */
export async function proveKey(to: KeyFacts, aws: AwsAccess): Promise<void> {
  const { keyring } = await openWrapping([to.arn.text], aws);
  const reader = await openUnwrapping([to.arn.text], aws);
  const { unseal } = await import('../bundle/envelope.ts');
  const sealed = await seal(Buffer.alloc(1), { keyring, name: 'retire', serial: 1, created: new Date() });
  await unseal(sealed, reader);
}
