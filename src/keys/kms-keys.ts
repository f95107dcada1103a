/**
 * The keys of an account, as KMS manages them. A key that an ARN names is asked of in the region of the ARN, any other in the
 * one of the settings. Whatever fails is a KeyError of key-errors.ts, or a ConfigError; nothing here is a key's material.
 */
import type { KMSClient } from '@aws-sdk/client-kms';
import type { AwsAccess } from '../aws/access.ts';
import { regionMissing } from '../aws/errors.ts';
import { type KeyCall, keyCallError } from '../aws/key-errors.ts';
import { KeyError } from '../errors.ts';
import { type KeyArn, parseKeyArn } from '../keyring/spec.ts';
import { type Alias, factsOf, iso, type KeyFacts, type KeyGrant, type Rotation } from './key-facts.ts';

type Sdk = typeof import('../aws/sdk-kms-keys.ts');

export class KmsKeys {
  readonly #aws: AwsAccess;

  constructor(aws: AwsAccess) {
    this.#aws = aws;
  }

  /** Where what no ARN names is looked for. */
  async region(): Promise<string> {
    const region = await this.#aws.region();
    if (region === undefined) throw regionMissing();
    return region;
  }

  /** By id, ARN, alias or alias ARN. */
  async describe(keyId: string): Promise<KeyFacts> {
    const answer = await this.#call('DescribeKey', keyId, (client, sdk) =>
      client.send(new sdk.DescribeKeyCommand({ KeyId: keyId })),
    );
    return factsOf(keyId, answer.KeyMetadata);
  }

  /** The ARNs of all keys of the region. */
  async list(): Promise<string[]> {
    return this.#pages('ListKeys', await this.region(), async (client, sdk, Marker) => {
      const page = await client.send(new sdk.ListKeysCommand({ Limit: 1000, Marker }));
      return { ...page, items: (page.Keys ?? []).flatMap(({ KeyArn }) => KeyArn ?? []) };
    });
  }

  /** All of a region (the settings' where undefined), or those of one key. */
  async aliases(of?: { readonly key: KeyArn } | { readonly region: string }): Promise<Alias[]> {
    const key = of !== undefined && 'key' in of ? of.key : undefined;
    const region = of !== undefined && 'region' in of ? of.region : undefined;
    return this.#pages(
      'ListAliases',
      key?.text ?? region ?? (await this.region()),
      async (client, sdk, Marker) => {
        const page = await client.send(new sdk.ListAliasesCommand({ Limit: 100, Marker, KeyId: key?.id }));
        const items = (page.Aliases ?? []).flatMap(
          ({ AliasName: name, AliasArn: arn, TargetKeyId: keyId }) =>
            name === undefined || arn === undefined ? [] : [{ name, arn, keyId }],
        );
        return { ...page, items };
      },
    );
  }

  /** The account of our credentials: every account has aliases of AWS's. */
  async account(): Promise<string> {
    const [any] = await this.aliases();
    const account = parseKeyArn(any?.arn ?? '')?.account;
    if (account !== undefined) return account;
    throw new KeyError(
      'key-not-found',
      `cannot tell the account: region ${await this.region()} lists no alias`,
      {
        hint: 'name an administrator with --admin: the key is made in the account of its ARN',
      },
    );
  }

  async rotation(key: KeyArn): Promise<Rotation> {
    const answer = await this.#call('GetKeyRotationStatus', key.text, (client, sdk) =>
      client.send(new sdk.GetKeyRotationStatusCommand({ KeyId: key.id })),
    );
    return {
      enabled: answer.KeyRotationEnabled === true,
      everyDays: answer.RotationPeriodInDays,
      next: iso(answer.NextRotationDate),
    };
  }

  /** When it was last used, as KMS itself keeps it; undefined: not since it does. */
  async lastUse(key: KeyArn): Promise<{ readonly operation: string; readonly at: string } | undefined> {
    const { KeyLastUsage } = await this.#call('GetKeyLastUsage', key.text, (client, sdk) =>
      client.send(new sdk.GetKeyLastUsageCommand({ KeyId: key.id })),
    );
    const at = iso(KeyLastUsage?.Timestamp);
    return at === undefined ? undefined : { operation: String(KeyLastUsage?.Operation), at };
  }

  async grants(key: KeyArn): Promise<KeyGrant[]> {
    return this.#pages('ListGrants', key.text, async (client, sdk, Marker) => {
      const page = await client.send(new sdk.ListGrantsCommand({ KeyId: key.id, Limit: 100, Marker }));
      return { ...page, items: page.Grants ?? [] };
    });
  }

  /** JSON. */
  async policy(key: KeyArn): Promise<string> {
    const { Policy } = await this.#call('GetKeyPolicy', key.text, (client, sdk) =>
      client.send(new sdk.GetKeyPolicyCommand({ KeyId: key.id, PolicyName: 'default' })),
    );
    return Policy ?? '{}';
  }

  async setPolicy(key: KeyArn, policy: string): Promise<void> {
    await this.#call('PutKeyPolicy', key.text, (client, sdk) =>
      client.send(new sdk.PutKeyPolicyCommand({ KeyId: key.id, PolicyName: 'default', Policy: policy })),
    );
  }

  /** A symmetric key, in the region of the settings. */
  async create(options: {
    readonly policy: string;
    readonly description: string;
    readonly multiRegion: boolean;
  }): Promise<KeyFacts> {
    const { policy: Policy, description: Description, multiRegion: MultiRegion } = options;
    const region = await this.region();
    const answer = await this.#call('CreateKey', region, (client, sdk) =>
      client.send(new sdk.CreateKeyCommand({ Policy, Description, MultiRegion })),
    );
    return factsOf(region, answer.KeyMetadata);
  }

  /** An alias is of its key's region. `exists`: it is moved. */
  async setAlias(name: string, key: KeyArn, exists: boolean): Promise<void> {
    const input = { AliasName: name, TargetKeyId: key.id };
    const call = exists ? 'UpdateAlias' : 'CreateAlias';
    await this.#call(
      call,
      name,
      (client, sdk) =>
        exists
          ? client.send(new sdk.UpdateAliasCommand(input))
          : client.send(new sdk.CreateAliasCommand(input)),
      key.region,
    );
  }

  async removeAlias(name: string, region: string): Promise<void> {
    await this.#call(
      'DeleteAlias',
      name,
      (client, sdk) => client.send(new sdk.DeleteAliasCommand({ AliasName: name })),
      region,
    );
  }

  async setEnabled(key: KeyArn, enabled: boolean): Promise<void> {
    await this.#call(enabled ? 'EnableKey' : 'DisableKey', key.text, (client, sdk) =>
      client.send(new (enabled ? sdk.EnableKeyCommand : sdk.DisableKeyCommand)({ KeyId: key.id })),
    );
  }

  /** `everyDays`: 90 to 2560, KMS's own default where undefined. */
  async startRotation(key: KeyArn, everyDays: number | undefined): Promise<void> {
    await this.#call('EnableKeyRotation', key.text, (client, sdk) =>
      client.send(new sdk.EnableKeyRotationCommand({ KeyId: key.id, RotationPeriodInDays: everyDays })),
    );
  }

  async stopRotation(key: KeyArn): Promise<void> {
    await this.#call('DisableKeyRotation', key.text, (client, sdk) =>
      client.send(new sdk.DisableKeyRotationCommand({ KeyId: key.id })),
    );
  }

  async rotateNow(key: KeyArn): Promise<void> {
    await this.#call('RotateKeyOnDemand', key.text, (client, sdk) =>
      client.send(new sdk.RotateKeyOnDemandCommand({ KeyId: key.id })),
    );
  }

  /** In 7 to 30 days; when, as KMS says it. */
  async scheduleDeletion(key: KeyArn, days: number): Promise<string | undefined> {
    const { DeletionDate } = await this.#call('ScheduleKeyDeletion', key.text, (client, sdk) =>
      client.send(new sdk.ScheduleKeyDeletionCommand({ KeyId: key.id, PendingWindowInDays: days })),
    );
    return iso(DeletionDate);
  }

  /** It is disabled afterwards. */
  async cancelDeletion(key: KeyArn): Promise<void> {
    await this.#call('CancelKeyDeletion', key.text, (client, sdk) =>
      client.send(new sdk.CancelKeyDeletionCommand({ KeyId: key.id })),
    );
  }

  async #call<T>(
    call: KeyCall,
    what: string,
    send: (client: KMSClient, sdk: Sdk) => Promise<T>,
    region = parseKeyArn(what)?.region ?? regionNamed(call, what),
  ): Promise<T> {
    const sdk = await import('../aws/sdk-kms-keys.ts');
    const client = await this.#aws.kms(region ?? (await this.region()));
    try {
      return await send(client, sdk);
    } catch (error) {
      throw keyCallError(error, call, what);
    }
  }

  async #pages<T>(
    call: KeyCall,
    what: string,
    page: (
      client: KMSClient,
      sdk: Sdk,
      marker: string | undefined,
    ) => Promise<{ items: readonly T[]; Truncated?: boolean | undefined; NextMarker?: string | undefined }>,
  ): Promise<T[]> {
    const all: T[] = [];
    let marker: string | undefined;
    do {
      const after = marker;
      const { items, Truncated, NextMarker } = await this.#call(call, what, (client, sdk) =>
        page(client, sdk, after),
      );
      all.push(...items);
      marker = Truncated === true ? NextMarker : undefined;
    } while (marker !== undefined);
    return all;
  }
}

/** Of the calls that are about a region as a whole. */
function regionNamed(call: KeyCall, what: string): string | undefined {
  return call === 'ListAliases' || call === 'ListKeys' || call === 'CreateKey' ? what : undefined;
}
