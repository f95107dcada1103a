/** The port to AWS over the clients that every command has. Only reading calls; each answer's Date header is noted. */
import type { S3Client } from '@aws-sdk/client-s3';
import type { AwsCredentialIdentity, MiddlewareStack } from '@smithy/types';
import type { AwsAccess } from '../aws/access.ts';
import { answer, nameOf, setupError, statusOf } from '../aws/errors.ts';
import { s3ReadError } from '../aws/s3-errors.ts';
import type { KeyFacts, Rotation } from '../keys/key-facts.ts';
import { KmsKeys } from '../keys/kms-keys.ts';
import {
  type BucketAnswers,
  type BucketQuestion,
  type Cloud,
  type CredentialFacts,
  Denied,
  type ServerTime,
} from './cloud.ts';

type Sdk = typeof import('../aws/sdk-s3.ts');
type Ask<T> = (client: S3Client, sdk: Sdk, bucket: string) => Promise<T>;

/** Everybody, and everybody with an AWS account. */
const EVERYBODY = /\/(AllUsers|AuthenticatedUsers)$/;
/** How S3 says that a bucket has no such setting. */
const ABSENT = new Set([
  'NoSuchPublicAccessBlockConfiguration',
  'NoSuchBucketPolicy',
  'ServerSideEncryptionConfigurationNotFoundError',
]);
const QUESTIONS: {
  readonly [Q in BucketQuestion]: { readonly ask: Ask<BucketAnswers[Q]>; readonly absent: BucketAnswers[Q] };
} = {
  block: {
    absent: undefined,
    async ask(client, sdk, Bucket) {
      const { PublicAccessBlockConfiguration } = await client.send(
        new sdk.GetPublicAccessBlockCommand({ Bucket }),
      );
      return { ...PublicAccessBlockConfiguration };
    },
  },
  policyIsPublic: {
    absent: false,
    async ask(client, sdk, Bucket) {
      const { PolicyStatus } = await client.send(new sdk.GetBucketPolicyStatusCommand({ Bucket }));
      return PolicyStatus?.IsPublic === true;
    },
  },
  aclIsPublic: {
    absent: false,
    async ask(client, sdk, Bucket) {
      const { Grants = [] } = await client.send(new sdk.GetBucketAclCommand({ Bucket }));
      return Grants.some(({ Grantee }) => EVERYBODY.test(Grantee?.URI ?? ''));
    },
  },
  logged: {
    absent: false,
    async ask(client, sdk, Bucket) {
      const { LoggingEnabled } = await client.send(new sdk.GetBucketLoggingCommand({ Bucket }));
      return LoggingEnabled !== undefined;
    },
  },
  versioning: {
    absent: undefined,
    ask: async (client, sdk, Bucket) =>
      (await client.send(new sdk.GetBucketVersioningCommand({ Bucket }))).Status,
  },
  encryption: {
    absent: undefined,
    async ask(client, sdk, Bucket) {
      const { ServerSideEncryptionConfiguration: all } = await client.send(
        new sdk.GetBucketEncryptionCommand({ Bucket }),
      );
      return all?.Rules?.[0]?.ApplyServerSideEncryptionByDefault?.SSEAlgorithm;
    },
  },
};

/** As the SDK marks what its providers return: aws-sdk/types feature-ids. The first that fits. */
const SOURCES: readonly (readonly [mark: RegExp, words: string, kind: 'kept' | 'renewed' | 'instance'])[] = [
  [/^CREDENTIALS_IMDS$/, "the instance's role", 'instance'],
  [/^CREDENTIALS_HTTP$/, "the container's role", 'renewed'],
  [/WEB_ID/, 'a web identity', 'renewed'],
  [/SSO|LOGIN/, 'a session of a person (SSO)', 'kept'],
  [/PROCESS/, "a profile's credential_process", 'renewed'],
  [/SOURCE_PROFILE|NAMED_PROVIDER/, "a profile's role", 'renewed'],
  [/PROFILE/, 'a profile', 'kept'],
  [/^CREDENTIALS_ENV_VARS$/, 'the environment', 'kept'],
];

export class AwsCloud implements Cloud {
  readonly #aws: AwsAccess;
  readonly #keys: KmsKeys;
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #roleArn: string | undefined;
  readonly #times: ServerTime[] = [];
  /** Several checks ask the same. */
  readonly #answers = new Map<string, Promise<unknown>>();
  readonly #watched = new WeakSet<object>();

  constructor(
    aws: AwsAccess,
    env: Readonly<Record<string, string | undefined>>,
    roleArn: string | undefined,
  ) {
    this.#aws = aws;
    this.#keys = new KmsKeys(aws);
    this.#env = env;
    this.#roleArn = roleArn;
  }

  region(): Promise<string | undefined> {
    return this.#aws.region();
  }

  async credentials(): Promise<CredentialFacts> {
    return credentialFacts(await this.#aws.credentials(), { env: this.#env, roleArn: this.#roleArn });
  }

  bucket<Q extends BucketQuestion>(question: Q, bucket: string): Promise<BucketAnswers[Q]> {
    const known = this.#answers.get(`${question} ${bucket}`) ?? this.#ask(question, bucket);
    this.#answers.set(`${question} ${bucket}`, known);
    return known as Promise<BucketAnswers[Q]>;
  }

  async #ask<Q extends BucketQuestion>(question: Q, bucket: string): Promise<BucketAnswers[Q]> {
    const sdk = await import('../aws/sdk-s3.ts');
    const client = await this.#aws.s3();
    this.#watch(client, 'S3');
    const { ask, absent } = QUESTIONS[question];
    try {
      return await ask(client, sdk, bucket);
    } catch (error) {
      if (ABSENT.has(nameOf(error))) return absent;
      const setup = setupError(error);
      if (setup !== undefined) throw setup;
      const status = statusOf(error);
      if (nameOf(error) === 'NoSuchBucket' || status === undefined) {
        throw s3ReadError(error, { verb: 'look at', location: `s3://${bucket}`, bucket, key: '' });
      }
      throw new Denied(answer(error), { cause: error });
    }
  }

  async key(arn: string): Promise<KeyFacts> {
    await this.#watchKms(arn);
    return this.#keys.describe(arn);
  }

  rotation(key: KeyFacts): Promise<Rotation> {
    return this.#keys.rotation(key.arn);
  }

  times(): readonly ServerTime[] {
    return this.#times;
  }

  async #watchKms(arn: string): Promise<void> {
    const region = arn.split(':')[3] ?? '';
    this.#watch(await this.#aws.kms(region), 'KMS');
  }

  #watch<I extends object, O extends object>(
    client: { readonly middlewareStack: MiddlewareStack<I, O> },
    service: string,
  ): void {
    if (this.#watched.has(client)) return;
    this.#watched.add(client);
    client.middlewareStack.add(
      (next) => async (args) => {
        const sentMs = Date.now();
        const result = await next(args);
        const { headers } = result.response as { readonly headers?: Readonly<Record<string, string>> };
        const aheadMs = aheadOf(headers?.['date'], sentMs, Date.now());
        if (aheadMs !== undefined) this.#times.push({ service, aheadMs });
        return result;
      },
      { step: 'deserialize', name: 'noteDate', priority: 'low' },
    );
  }
}

/** From a Date header, which has whole seconds, and when we sent and received; undefined: it is none. */
export function aheadOf(date: string | undefined, sentMs: number, receivedMs: number): number | undefined {
  const serverMs = Date.parse(date ?? '');
  if (Number.isNaN(serverMs)) return undefined;
  if (sentMs > serverMs + 1000) return sentMs - serverMs - 1000;
  return Math.min(0, receivedMs - serverMs);
}

/** What is not secret about credentials. */
export function credentialFacts(
  credentials: AwsCredentialIdentity,
  {
    env,
    roleArn,
  }: { readonly env: Readonly<Record<string, string | undefined>>; readonly roleArn: string | undefined },
): CredentialFacts {
  const marks = Object.keys((credentials as { readonly $source?: object }).$source ?? {});
  const [, words, kind] = SOURCES.find(([mark]) => marks.some((each) => mark.test(each))) ?? [
    undefined,
    "AWS's standard chain",
    'renewed',
  ];
  if (roleArn !== undefined) {
    return {
      source: `the role ${roleArn}`,
      expiresMs: credentials.expiration?.getTime(),
      renewed: true,
      fromInstance: false,
    };
  }
  // AwsAccess gives what never expires a time to look again.
  const isLasting = credentials.sessionToken === undefined;
  const isUnsaid = kind === 'kept' && words === 'the environment' && !env['AWS_CREDENTIAL_EXPIRATION'];
  return {
    source: isLasting ? `${words}, a key that does not expire` : words,
    expiresMs: isLasting || isUnsaid ? undefined : credentials.expiration?.getTime(),
    renewed: isLasting || kind !== 'kept',
    fromInstance: kind === 'instance',
  };
}
