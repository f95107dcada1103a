/** What the commands that open secrets of a store share: which keys may open, and what every format opens to. */
import type { KeyringNode } from '@aws-crypto/material-management-node';
import type { AwsAccess } from '../aws/access.ts';
import type { AcceptedKey } from '../bundle/header.ts';
import { parseContext } from '../bundle/name.ts';
import type { OldFormat } from '../bundle/old-format-names.ts';
import type { SettingName } from '../daemon/config.ts';
import { quote, SourceError, shellQuote } from '../errors.ts';
import { asksKms, openDiscovering, openUnwrapping } from '../keyring/keyring.ts';
import { openOldSecret } from '../keyring/old-object.ts';
import { ofOwnAccount } from '../keyring/own-account.ts';
import { RawKms } from '../keyring/raw-kms.ts';
import { type KmsSpec, parseAcceptedKey } from '../keyring/spec.ts';
import { openSecret, type SecretHeader } from '../secrets/secret.ts';
import type { ReadObject, SecretStore } from '../secrets/store.ts';
import { avoidDumps } from '../system/dumps.ts';
import type { Context } from './command.ts';
import { STORE_SETTINGS } from './stores.ts';

/** Of a command that opens secrets. */
export const SECRET_SETTINGS: readonly SettingName[] = [
  ...STORE_SETTINGS,
  'key',
  'acceptKey',
  'context',
  'formats',
];

export interface OpenedSecret {
  /** The caller's to wipe. */
  readonly plaintext: Buffer;
  readonly format: 'secretsfs' | OldFormat;
  /** The ARN of the KMS key that an old format was under, or those of all keys that may open one of ours. */
  readonly keys: readonly string[];
  /** Of ours. */
  readonly header: SecretHeader | undefined;
  /** Of a secret that is two objects, PATH.aes. */
  readonly stored: ReadObject;
  /** The other one, PATH.kms. */
  readonly wrappedKey?: ReadObject;
}

export interface SecretOpener {
  /**
   * Opens what lies at `path`. Throws SourceError source-not-found where there is nothing, and what openSecret() and
   * openOldSecret() throw.
   */
  open(
    path: string,
    options?: {
      readonly version?: string | undefined;
      /** The place it was sealed for, where that is meant to be another than its own. */
      readonly sealedFor?: string | undefined;
      /** Of what lies there, as of SecretStore.read(). */
      readonly bytesMax?: number | undefined;
    },
  ): Promise<OpenedSecret>;
  /** Opens what was read at `path`. Throws what openSecret() and openOldSecret() throw. */
  openRead(path: string, stored: ReadObject): Promise<OpenedSecret>;
}

/**
 * The keys that may open: those of --accept-key and no other; without it key files and ARNs of --key, and every KMS key of
 * the account of the credentials. --context is demanded of what is opened; what nothing binds to its path, --formats has to
 * name. Touches key files, and neither store nor network.
 */
export async function createOpener(
  { settings }: Pick<Context, 'settings'>,
  store: SecretStore,
  aws: AwsAccess,
): Promise<SecretOpener> {
  await avoidDumps();
  const context = parseContext(settings.context ?? []);
  const { acceptKey, key = [], formats = [] } = settings;
  const reader =
    acceptKey === undefined ? await openDiscovering(key, aws) : await openUnwrapping(acceptKey, aws);
  const old = { kms: ofOwnAccount(new RawKms(aws)), keys: kmsKeysOf(acceptKey ?? []), context, formats };
  const isKmsAsked = asksKms(acceptKey ?? key);
  const openAt = async (place: string, stored: ReadObject): Promise<OpenedSecret> => {
    if (stored.bytes[0] === MESSAGE_VERSION || !isKmsAsked) return openOurs(stored, place, reader, context);
    const opened = await openOldSecret({ bytes: stored.bytes }, { ...old, place });
    // Neither: this says what it is instead.
    if (opened === undefined) return openOurs(stored, place, reader, context);
    const { plaintext, format, keyId } = opened;
    return { plaintext, format, keys: [keyId], header: undefined, stored };
  };
  return {
    openRead: (path, stored) => openAt(store.locate(path), stored),
    async open(path, { version, sealedFor, bytesMax } = {}) {
      const place = sealedFor ?? store.locate(path);
      const stored = await store.read(path, { version, bytesMax });
      if (stored === undefined) {
        const pair =
          isKmsAsked && version === undefined ? await openPair(store, path, place, old, bytesMax) : undefined;
        if (pair === undefined) throw notFound(store, path, version);
        return pair;
      }
      return openAt(place, stored);
    },
  };
}

/** Of the AWS Encryption SDK's message format. No old format begins with it but by chance, in a raw KMS ciphertext. */
const MESSAGE_VERSION = 2;

async function openOurs(
  stored: ReadObject,
  location: string,
  { keyring, accepted }: { readonly keyring: KeyringNode; readonly accepted: readonly AcceptedKey[] },
  context: Readonly<Record<string, string>>,
): Promise<OpenedSecret> {
  const { header, plaintext } = await openSecret(stored.bytes, { keyring, accepted, location, context });
  const keys = header.encryptedDataKeys.map(({ keyName }) => keyName);
  return { plaintext, format: 'secretsfs', keys, header, stored };
}

/** The two objects that a secret was until 18 April 2015. */
async function openPair(
  store: SecretStore,
  path: string,
  place: string,
  old: Omit<Parameters<typeof openOldSecret>[1], 'place'>,
  bytesMax: number | undefined,
): Promise<OpenedSecret | undefined> {
  const wrappedKey = await store.read(`${path}.kms`, { bytesMax });
  if (wrappedKey === undefined) return undefined;
  const sealed = await store.read(`${path}.aes`, { bytesMax });
  if (sealed === undefined) return undefined;
  const opened = await openOldSecret(
    { wrappedKey: wrappedKey.bytes, sealed: sealed.bytes },
    { ...old, place },
  );
  if (opened === undefined) return undefined;
  const { plaintext, format, keyId } = opened;
  return { plaintext, format, keys: [keyId], header: undefined, stored: sealed, wrappedKey };
}

function kmsKeysOf(specs: readonly string[]): KmsSpec[] {
  return specs.map(parseAcceptedKey).filter((spec) => spec.kind === 'kms');
}

function notFound(store: SecretStore, path: string, version: string | undefined): SourceError {
  const what = version === undefined ? quote(path) : `version ${quote(version)} of ${quote(path)}`;
  return new SourceError(
    'source-not-found',
    `cannot open ${what} in ${quote(store.location)}: there is none`,
    {
      hint:
        version === undefined
          ? `secretsfs ls shows what there is; in a bucket with versions secretsfs history ${shellQuote(path)} shows what was`
          : `secretsfs history ${shellQuote(path)} shows its versions`,
    },
  );
}
