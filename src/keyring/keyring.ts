/** From the keys that a person named to one keyring: local key files and KMS keys, in any mix. */
import {
  type EncryptedDataKey,
  KeyringNode,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
} from '@aws-crypto/material-management-node';
import type { AwsAccess } from '../aws/access.ts';
import { LOCAL_PROVIDER_ID } from '../bundle/data-keys.ts';
import type { AcceptedKey } from '../bundle/header.ts';
import { KeyError, quote, SecretsfsError, UsageError } from '../errors.ts';
import { ENCRYPTED_DATA_KEYS_MAX } from '../limits.ts';
import { mostTelling } from './failures.ts';
import { kmsAcceptedKey, kmsWrappingKeyring } from './kms.ts';
import { ANY_KMS_KEY, kmsUnwrappingKeyring } from './kms-unwrap.ts';
import { localKeyring, readKeyFile, readOpenedKey } from './local.ts';
import { parseAcceptedKey, parseKeySpec } from './spec.ts';

interface Child {
  readonly keyring: KeyringNode;
  /** Whether the data key is one that this child's key wrapped: if it then does not unwrap, it was altered. */
  owns(edk: EncryptedDataKey): boolean;
}

/**
 * The first child makes the data key, every child wraps it. To unwrap, children are asked in order until one can.
 * Unlike the library's own, it passes SecretsfsErrors on instead of pasting stack traces into one text.
 */
class CombinedKeyring extends KeyringNode {
  readonly #children: readonly Child[];

  constructor(children: readonly Child[]) {
    super();
    this.#children = children;
  }

  override async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    for (const { keyring } of this.#children) await keyring.onEncrypt(material);
    return material;
  }

  override async _onDecrypt(
    material: NodeDecryptionMaterial,
    edks: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial> {
    const failures: SecretsfsError[] = [];
    for (const { keyring, owns } of this.#children) {
      try {
        await keyring.onDecrypt(material, edks);
        // The library's own keyrings say nothing when what they should unwrap does not.
        if (!material.hasValidKey() && edks.some(owns)) failures.push(refused());
      } catch (error) {
        failures.push(error instanceof SecretsfsError ? error : refused(error));
      }
      if (material.hasValidKey()) return material;
    }
    // A keyring that had nothing to do with the message is not the reason.
    const reasons = failures.filter(({ code }) => code !== 'key-not-accepted');
    throw mostTelling(reasons.length > 0 ? reasons : failures.length > 0 ? failures : [notAccepted()]);
  }
}

function refused(cause?: unknown): KeyError {
  return new KeyError('data-key-refused', 'cannot unwrap the data key: it does not fit the key', {
    hint: 'the data key or the encryption context was altered: pack the bundle again',
    cause,
  });
}

function notAccepted(): KeyError {
  return new KeyError(
    'key-not-accepted',
    'cannot unwrap the data key: it is wrapped with none of the accepted keys',
    {
      hint: 'secretsfs inspect shows the keys of a bundle; accept one with --accept-key',
    },
  );
}

const ONCE = 'name each key once, and no more than a bundle may have';

function checkList(specs: readonly string[]): void {
  if (specs.length === 0) {
    throw new UsageError('cannot go without a key', {
      hint: 'give --key: local:PATH, or the ARN, id or alias of a KMS key',
    });
  }
  if (specs.length > ENCRYPTED_DATA_KEYS_MAX) {
    throw new UsageError(`cannot use ${specs.length} keys: at most ${ENCRYPTED_DATA_KEYS_MAX}`, {
      hint: ONCE,
    });
  }
  const twice = specs.find((spec, i) => specs.indexOf(spec) !== i);
  if (twice !== undefined) throw new UsageError(`cannot use the key ${quote(twice)} twice`, { hint: ONCE });
}

/** Key files that somebody else opened, by their path as it was given. */
export interface OpenKeyFiles {
  /** A descriptor, or an errno's name where it could not be opened. */
  readonly files: ReadonlyMap<string, number | string>;
  /** Who opened them, and so may own them. */
  readonly ownerUid: number;
}

async function readLocal(
  paths: readonly string[],
  opener?: OpenKeyFiles,
): Promise<ReturnType<typeof localKeyring>[]> {
  const opened: ReturnType<typeof localKeyring>[] = [];
  for (const path of paths) {
    const file = opener?.files.get(path);
    const key =
      opener === undefined || file === undefined
        ? await readKeyFile(path)
        : readOpenedKey(file, path, opener.ownerUid);
    const one = localKeyring(key, path);
    key.fill(0);
    if (opened.some(({ keyName }) => keyName === one.keyName)) {
      throw new UsageError(`cannot use the key file ${quote(path)}: the same key was given twice`);
    }
    opened.push(one);
  }
  return opened;
}

function localChild({ keyring, keyName }: ReturnType<typeof localKeyring>): Child {
  return {
    keyring,
    owns: ({ providerId, providerInfo }) =>
      providerId === LOCAL_PROVIDER_ID && providerInfo.startsWith(keyName),
  };
}

/** KMS keyrings throw their own reasons. */
function kmsChild(keyring: KeyringNode): Child {
  return { keyring, owns: () => false };
}

/** A keyring that wraps with all of `specs`. Throws UsageError and KeyError. */
export async function openWrapping(
  specs: readonly string[],
  aws: AwsAccess,
): Promise<{ keyring: KeyringNode }> {
  checkList(specs);
  const children: Child[] = [];
  const parsed = specs.map(parseKeySpec);
  const local = await readLocal(parsed.flatMap((spec) => (spec.kind === 'local' ? [spec.path] : [])));
  for (const spec of parsed) {
    if (spec.kind === 'local') {
      const opened = local.shift();
      if (opened === undefined) continue;
      children.push(localChild(opened));
    } else {
      children.push(kmsChild(kmsWrappingKeyring([spec], aws)));
    }
  }
  return { keyring: new CombinedKeyring(children) };
}

/** A keyring that unwraps with any of `specs`: local keys first, as they cost nothing. Throws as above. */
export async function openUnwrapping(
  specs: readonly string[],
  aws: AwsAccess,
  opener?: OpenKeyFiles,
): Promise<{ keyring: KeyringNode; accepted: AcceptedKey[] }> {
  checkList(specs);
  const parsed = specs.map(parseAcceptedKey);
  const kms = parsed.flatMap((spec) => (spec.kind === 'kms' ? [spec] : []));
  const local = await readLocal(
    parsed.flatMap((spec) => (spec.kind === 'local' ? [spec.path] : [])),
    opener,
  );
  const children = local.map(localChild);
  if (kms.length > 0) {
    const arns = kms.map(({ arn }) => arn);
    children.push(kmsChild(kmsUnwrappingKeyring(arns, aws)));
  }
  return {
    keyring: new CombinedKeyring(children),
    accepted: [...local.map(({ accepted }) => accepted), ...kms.map(kmsAcceptedKey)],
  };
}

/**
 * A keyring that unwraps the secrets of a store, for a person who need not know under which key each lies: with the key
 * files of `specs`, with the KMS keys that `specs` name by ARN, and with any KMS key of the account of the credentials,
 * unless `specs` name key files and nothing else. Throws as above. docs/threat-model.md says what that leaves open.
 */
export async function openDiscovering(
  specs: readonly string[],
  aws: AwsAccess,
): Promise<{ keyring: KeyringNode; accepted: AcceptedKey[] }> {
  if (specs.length > 0) checkList(specs);
  const parsed = specs.map(parseKeySpec);
  const local = await readLocal(parsed.flatMap((spec) => (spec.kind === 'local' ? [spec.path] : [])));
  const children = local.map(localChild);
  const accepted = local.map((key) => key.accepted);
  if (asksKms(specs)) {
    const arns = parsed.flatMap((spec) =>
      spec.kind === 'kms' && spec.arn?.kind === 'key' ? [spec.arn] : [],
    );
    children.push(kmsChild(kmsUnwrappingKeyring(arns, aws, { ownAccount: true })));
    accepted.push(ANY_KMS_KEY);
  }
  return { keyring: new CombinedKeyring(children), accepted };
}

/** Whether openDiscovering() asks KMS for these: not where they are key files and nothing else. Throws UsageError. */
export function asksKms(specs: readonly string[]): boolean {
  return specs.length === 0 || specs.some((spec) => parseKeySpec(spec).kind === 'kms');
}
