/**
 * Every AWS client of the program is made here, so that where the aws command works, this works: the same
 * credentials, region, endpoints, proxy and CA bundle. Nothing of the SDK is loaded, and no file or network is
 * touched, before the first client is asked for.
 */
import type { KMSClient } from '@aws-sdk/client-kms';
import type { S3Client } from '@aws-sdk/client-s3';
import type { SNSClient } from '@aws-sdk/client-sns';
import type { SQSClient } from '@aws-sdk/client-sqs';
import type { AwsCredentialIdentity, AwsCredentialIdentityProvider, MiddlewareStack } from '@smithy/types';
import { ConfigError, quote, UsageError } from '../errors.ts';
import type { CallTotal, Service } from '../metrics/calls.ts';
import type { ProxyingHandler } from './http.ts';
import type { Profile } from './profile.ts';
import type { ReplayedClient, Replays } from './replay.ts';

export interface AwsOptions {
  /**
   * The process's own environment: the SDK reads process.env by itself, and what can only be told it there is set in
   * it (the profile's name, and that it must not write warnings).
   */
  readonly env: NodeJS.ProcessEnv;
  readonly profile?: string | undefined;
  readonly region?: string | undefined;
  /** A role to assume with the credentials that were found. */
  readonly roleArn?: string | undefined;
  readonly externalId?: string | undefined;
  /** Buckets in the path rather than in the host name: for S3-compatible servers. */
  readonly forcePathStyle?: boolean | undefined;
  /** Twelve digits: every request to S3 says that the bucket must belong to this account. */
  readonly expectedBucketOwner?: string | undefined;
  /** For S3 where nothing names a region: one that is likely, such as a key's. Redirects correct it. */
  readonly likelyRegion?: string | undefined;
  /** Told of each call; what credentials take is not counted. */
  readonly onCall?: ((call: CallTotal) => void) | undefined;
}

/** A KMS answer is small and quick, or will not come. Two attempts: another region may be next. */
const KMS_REQUEST_TIMEOUT_MS = 4_000;
const KMS_ATTEMPTS = 2;
/** One a region: as many as a mount may accept keys, and then some. */
const KMS_CLIENTS_MAX = 16;
/** No byte in either direction. An upload or a large bundle as a whole may take longer. */
const S3_IDLE_TIMEOUT_MS = 10_000;
const S3_ATTEMPTS = 3;
/** Longer than a queue holds a request that brings nothing, which is 20 s at the most. */
const QUEUE_IDLE_TIMEOUT_MS = 30_000;
/** The one who asks comes again anyway, and later each time. */
const QUEUE_ATTEMPTS = 1;

/** The SDK throws what looks like a bug for each of these. */
function checkEndpoints(env: NodeJS.ProcessEnv, profile: Profile): void {
  const named = Object.entries(env).filter(([name]) => /^AWS_ENDPOINT_URL(_[A-Z0-9_]+)?$/.test(name));
  for (const [name, url] of [...named, [`endpoint_url of profile ${profile.name}`, profile.endpointUrl]]) {
    if (!url || (URL.canParse(url) && /^https?:\/\/[^/]/.test(url))) continue;
    throw new ConfigError('config-invalid', `cannot use ${name}: it is not a URL`, {
      hint: 'write it as https://HOST or http://HOST:PORT',
    });
  }
}

function checkRegion(region: string): string {
  if (/^[a-z0-9]+(-[a-z0-9]+)*$/.test(region) && region.length < 64) return region;
  throw new ConfigError(
    'config-invalid',
    `cannot use the region ${quote(region)}: it is not the name of one`,
    {
      hint: 'it looks like eu-west-1; check --region, AWS_REGION and the profile',
    },
  );
}

function checkRole(roleArn: string | undefined, externalId: string | undefined): void {
  if (roleArn === undefined && externalId !== undefined) {
    throw new UsageError('cannot use an external id without a role', { hint: 'give --role-arn too' });
  }
  if (roleArn !== undefined && !/^arn:aws[a-z-]*:iam::\d{12}:role\/[\x21-\x7e]+$/.test(roleArn)) {
    throw new UsageError(`cannot assume ${quote(roleArn)}: it is not a role's ARN`, {
      hint: 'such an ARN is arn:aws:iam::ACCOUNT:role/NAME',
    });
  }
}

interface Base {
  readonly profile: Profile;
  readonly quick: ProxyingHandler;
  readonly bulk: ProxyingHandler;
  readonly patient: ProxyingHandler;
}

export class AwsAccess {
  readonly #options: AwsOptions;
  #base: Promise<Base> | undefined;
  #region: Promise<string | undefined> | undefined;
  #credentials: Promise<AwsCredentialIdentityProvider> | undefined;
  #s3: Promise<S3Client> | undefined;
  #sqs: Promise<SQSClient> | undefined;
  #sns: Promise<SNSClient> | undefined;
  readonly #kms = new Map<string, Promise<KMSClient>>();
  readonly #replays = new WeakMap<object, Promise<Replays>>();

  /** Throws UsageError for a role that can't be one. */
  constructor(options: AwsOptions) {
    checkRole(options.roleArn, options.externalId);
    this.#options = options;
  }

  /** --region, AWS_REGION, AWS_DEFAULT_REGION, the profile's, the instance's; undefined where none is. Throws ConfigError. */
  region(): Promise<string | undefined> {
    this.#region ??= this.#findRegion();
    // At boot the metadata service may not answer yet: only what was found is remembered.
    this.#region.then(
      (found) => {
        if (found === undefined) this.#region = undefined;
      },
      () => {
        this.#region = undefined;
      },
    );
    return this.#region;
  }

  /** What every client signs with. The caller must not keep or show it. Throws ConfigError. */
  async credentials(): Promise<AwsCredentialIdentity> {
    return (await this.#provider())();
  }

  /** The client for a region, which a key's ARN names or region() does. Throws ConfigError. */
  kms(region: string): Promise<KMSClient> {
    const known = this.#kms.get(region);
    if (known !== undefined) return known;
    // A bundle may name a region, and each bundle another.
    const [oldest] = this.#kms;
    if (oldest !== undefined && this.#kms.size >= KMS_CLIENTS_MAX) {
      this.#kms.delete(oldest[0]);
      oldest[1].then((client) => client.destroy()).catch(() => undefined);
    }
    const made = this.#newKms(region);
    this.#kms.set(region, made);
    made.catch(() => this.#kms.delete(region));
    return made;
  }

  /** One client; it follows a bucket to its region. Throws ConfigError. */
  s3(): Promise<S3Client> {
    this.#s3 ??= this.#newS3();
    this.#s3.catch(() => {
      this.#s3 = undefined;
    });
    return this.#s3;
  }

  /** For thousands of calls of one of its clients. undefined where each call is counted, which the SDK's stack does. */
  async replays(client: S3Client | KMSClient): Promise<Replays | undefined> {
    if (this.#options.onCall !== undefined) return undefined;
    const known = this.#replays.get(client);
    if (known !== undefined) return known;
    const made = import('./replay.ts').then(
      ({ Replays }) => new Replays(client as unknown as ReplayedClient),
    );
    this.#replays.set(client, made);
    return made;
  }

  get expectedBucketOwner(): string | undefined {
    return this.#options.expectedBucketOwner;
  }

  /** One client, for queues of one region. It waits as long as a queue may. Throws ConfigError. */
  sqs(region: string | undefined): Promise<SQSClient> {
    this.#sqs ??= this.#newSqs(region);
    this.#sqs.catch(() => {
      this.#sqs = undefined;
    });
    return this.#sqs;
  }

  /** One client, for topics of one region. Throws ConfigError. */
  sns(region: string): Promise<SNSClient> {
    this.#sns ??= this.#newSns(region);
    this.#sns.catch(() => {
      this.#sns = undefined;
    });
    return this.#sns;
  }

  /** Closes every connection. The clients must not be used afterwards. */
  destroy(): void {
    const clients = [this.#s3, this.#sqs, this.#sns, ...this.#kms.values()];
    for (const client of clients) client?.then((c) => c.destroy()).catch(() => undefined);
    this.#base
      ?.then(({ quick, bulk, patient }) => {
        for (const handler of [quick, bulk, patient]) handler.destroy();
      })
      .catch(() => undefined);
    this.#base = undefined;
    this.#credentials = undefined;
    this.#s3 = undefined;
    this.#sqs = undefined;
    this.#sns = undefined;
    this.#kms.clear();
  }

  async #findRegion(): Promise<string | undefined> {
    const { env, region } = this.#options;
    const said = region || env['AWS_REGION'] || env['AWS_DEFAULT_REGION'];
    if (said) return checkRegion(said);
    const { profile } = await this.#start();
    if (profile.region !== undefined) return checkRegion(profile.region);
    const { regionFromInstance } = await import('./imds.ts');
    return regionFromInstance(env);
  }

  #start(): Promise<Base> {
    this.#base ??= this.#readSettings();
    this.#base.catch(() => {
      this.#base = undefined;
    });
    return this.#base;
  }

  async #readSettings(): Promise<Base> {
    const { env, profile: option } = this.#options;
    const { profileName, readProfile } = await import('./profile.ts');
    const { httpSettings, ProxyingHandler } = await import('./http.ts');
    env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
    const name = profileName(env, option);
    // The SDK looks for endpoint_url, use_fips_endpoint and the like in AWS_PROFILE's section only.
    if (name !== 'default' || option !== undefined) env['AWS_PROFILE'] = name;
    const profile = await readProfile(env, name);
    checkEndpoints(env, profile);
    const settings = await httpSettings(env, profile.caBundle);
    return {
      profile,
      quick: new ProxyingHandler({
        ...settings,
        requestTimeoutMs: KMS_REQUEST_TIMEOUT_MS,
        idleTimeoutMs: KMS_REQUEST_TIMEOUT_MS,
      }),
      bulk: new ProxyingHandler({ ...settings, idleTimeoutMs: S3_IDLE_TIMEOUT_MS }),
      patient: new ProxyingHandler({ ...settings, idleTimeoutMs: QUEUE_IDLE_TIMEOUT_MS }),
    };
  }

  #provider(): Promise<AwsCredentialIdentityProvider> {
    this.#credentials ??= this.#newProvider();
    this.#credentials.catch(() => {
      this.#credentials = undefined;
    });
    return this.#credentials;
  }

  async #newProvider(): Promise<AwsCredentialIdentityProvider> {
    const { env, profile: option, roleArn, externalId, likelyRegion } = this.#options;
    const { profile, quick } = await this.#start();
    const { credentialProvider } = await import('./credentials.ts');
    return credentialProvider({
      env,
      profileNamed: option !== undefined,
      profile,
      region: (await this.region()) ?? likelyRegion,
      roleArn,
      externalId,
      handler: quick,
    });
  }

  async #newKms(region: string): Promise<KMSClient> {
    const { quick } = await this.#start();
    const credentials = await this.#provider();
    const { KMSClient } = await import('./sdk-kms.ts');
    const { QuietLogger } = await import('./http.ts');
    const client = new KMSClient({
      region,
      credentials,
      requestHandler: quick,
      maxAttempts: KMS_ATTEMPTS,
      logger: new QuietLogger(),
    });
    return this.#counted(client, 'kms');
  }

  async #newS3(): Promise<S3Client> {
    const { bulk } = await this.#start();
    const credentials = await this.#provider();
    // As the aws command: S3 needs no region, it redirects to the bucket's.
    const region = (await this.region()) ?? this.#options.likelyRegion ?? 'us-east-1';
    const { S3Client } = await import('./sdk-s3.ts');
    const { QuietLogger } = await import('./http.ts');
    const client = new S3Client({
      region,
      credentials,
      requestHandler: bulk,
      maxAttempts: S3_ATTEMPTS,
      followRegionRedirects: true,
      forcePathStyle: this.#options.forcePathStyle ?? false,
      // Trailing checksums are unknown to many S3-compatible servers, and every byte is authenticated anyway.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      // It would be sent past the proxy's agent, and waited for up to six seconds.
      expectContinueHeader: false,
      logger: new QuietLogger(),
    });
    const owner = this.#options.expectedBucketOwner;
    if (owner !== undefined) {
      client.middlewareStack.add(
        (next) => (args) => next({ ...args, input: { ...args.input, ExpectedBucketOwner: owner } }),
        { step: 'initialize', name: 'expectedBucketOwner' },
      );
    }
    return this.#counted(client, 's3');
  }

  async #newSqs(region: string | undefined): Promise<SQSClient> {
    const { patient } = await this.#start();
    const { SQSClient } = await import('./sdk-sqs.ts');
    const client = new SQSClient({ ...(await this.#queueing(region)), requestHandler: patient });
    return this.#counted(client, 'sqs');
  }

  async #newSns(region: string): Promise<SNSClient> {
    const { quick } = await this.#start();
    const { SNSClient } = await import('./sdk-sns.ts');
    const client = new SNSClient({ ...(await this.#queueing(region)), requestHandler: quick });
    return this.#counted(client, 'sns');
  }

  async #counted<C, I extends object, O extends object>(
    client: C & { readonly middlewareStack: MiddlewareStack<I, O> },
    service: Service,
  ): Promise<C> {
    const { onCall } = this.#options;
    if (onCall !== undefined) (await import('./calls.ts')).countCalls(client, service, onCall);
    return client;
  }

  async #queueing(named: string | undefined) {
    const region = named ?? (await this.region());
    if (region === undefined) throw (await import('./errors.ts')).regionMissing();
    const { QuietLogger } = await import('./http.ts');
    const credentials = await this.#provider();
    return { region, credentials, maxAttempts: QUEUE_ATTEMPTS, logger: new QuietLogger() };
  }
}
