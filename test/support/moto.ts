/**
 * AWS for tests: one moto_server for each test file, or a shared one where SECRETSFS_TEST_MOTO_URL names it. A shared
 * one is never reset, so names are unique. A missing moto_server fails the test.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:net';
import { CreateAliasCommand, CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { CreateBucketCommand, PutBucketVersioningCommand, S3Client } from '@aws-sdk/client-s3';

const QUIET = 'AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED';
process.env[QUIET] = 'true';

const READY_WITHIN_MS = 30_000;
/** moto's account. */
export const ACCOUNT = '123456789012';
const CREDENTIALS = { accessKeyId: 'testing', secretAccessKey: 'testing' };

export interface Moto {
  readonly url: string;
  /** undefined of a shared one. */
  readonly pid?: number | undefined;
  /** Ends the server if it is ours; resolves when it is gone. */
  stop(): Promise<void>;
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

async function untilReady(url: string, child: ChildProcess, output: () => string): Promise<void> {
  const end = Date.now() + READY_WITHIN_MS;
  while (Date.now() < end) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`moto_server ended at once (pip install 'moto[server]==5.2.1'): ${output()}`);
    }
    const answer = await fetch(`${url}/moto-api/`).catch(() => undefined);
    await answer?.arrayBuffer();
    if (answer?.status === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`moto_server was not ready within ${READY_WITHIN_MS} ms: ${output()}`);
}

/** Starts moto_server (pip install 'moto[server]==5.2.1'), or finds the shared one. */
export async function startMoto(options: { readonly own?: boolean } = {}): Promise<Moto> {
  const shared = process.env['SECRETSFS_TEST_MOTO_URL'];
  if (shared && options.own !== true) return { url: shared, stop: async () => {} };

  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  // Dies with us, however we die (setpriv is part of util-linux).
  const command = ['--pdeathsig', 'KILL', 'moto_server', '-H', '127.0.0.1', '-p', String(port)];
  const child = spawn('setpriv', command, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: withoutAws(process.env),
  });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log = (log + text).slice(-4000);
  });
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', (error) => {
      log += error.message;
      resolve();
    });
  });
  const kill = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', kill);
  const failed = new Promise<never>((_, reject) => {
    child.once('error', (error) => {
      reject(new Error(`cannot start moto_server (${error.message}): pip install 'moto[server]==5.2.1'`));
    });
  });
  failed.catch(() => {});
  try {
    await Promise.race([untilReady(url, child, () => log), failed]);
  } catch (error) {
    kill();
    throw error;
  }
  return {
    url,
    pid: child.pid,
    async stop() {
      kill();
      await ended;
      process.off('exit', kill);
    },
  };
}

/** An environment without what a developer's own AWS set-up, or a proxy, put there. */
export function withoutAws(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(
    ([name]) => !/^(AWS_|SECRETSFS_|REQUESTS_CA_BUNDLE$|(https?|no|all)_proxy$)/i.test(name),
  );
  return Object.fromEntries(kept);
}

/** What points a child process at moto, whole: nothing else of AWS is left in it. */
export function awsEnv(url: string, more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return {
    ...withoutAws(process.env),
    AWS_ENDPOINT_URL: url,
    AWS_EC2_METADATA_SERVICE_ENDPOINT: url,
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
    AWS_REGION: 'eu-west-1',
    AWS_CONFIG_FILE: '/nonexistent/config',
    AWS_SHARED_CREDENTIALS_FILE: '/nonexistent/credentials',
    ...more,
  };
}

/**
 * Makes `env` this process's whole environment until the returned function is called: for code under test that reads
 * process.env. Tests in one file run one after the other.
 */
export function replaceEnv(env: NodeJS.ProcessEnv): () => void {
  const before = { ...process.env };
  const set = (wanted: NodeJS.ProcessEnv): void => {
    for (const name of Object.keys(process.env)) if (!(name in wanted)) delete process.env[name];
    for (const [name, value] of Object.entries(wanted)) if (value !== undefined) process.env[name] = value;
  };
  set({ ...env, [QUIET]: 'true' });
  return () => set(before);
}

/** Straight to moto, past everything under test. */
export function motoS3(url: string, region = 'eu-west-1'): S3Client {
  return new S3Client({ endpoint: url, region, credentials: CREDENTIALS, forcePathStyle: true });
}
export function motoKms(url: string, region = 'eu-west-1'): KMSClient {
  return new KMSClient({ endpoint: url, region, credentials: CREDENTIALS });
}

/** A name that no other test has. */
export function unique(prefix: string): string {
  return `${prefix}-${randomBytes(6).toString('hex')}`;
}

export async function createBucket(
  url: string,
  options: { readonly versioned?: boolean; readonly region?: string } = {},
): Promise<string> {
  const region = options.region ?? 'eu-west-1';
  const client = motoS3(url, region);
  const Bucket = unique('bundles');
  await client.send(
    new CreateBucketCommand({
      Bucket,
      ...(region === 'us-east-1'
        ? {}
        : { CreateBucketConfiguration: { LocationConstraint: region as 'eu-west-1' } }),
    }),
  );
  if (options.versioned === true) {
    await client.send(
      new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: 'Enabled' } }),
    );
  }
  client.destroy();
  return Bucket;
}

/** A new key's ARN. Not multi-Region: what moto wraps with one of those it cannot unwrap. */
export async function createKey(url: string, options: { readonly region?: string } = {}): Promise<string> {
  const client = motoKms(url, options.region);
  const { KeyMetadata } = await client.send(new CreateKeyCommand({}));
  client.destroy();
  if (KeyMetadata?.Arn === undefined) throw new Error('moto made no key');
  return KeyMetadata.Arn;
}

export async function createAlias(url: string, keyArn: string, region?: string): Promise<string> {
  const client = motoKms(url, region);
  const AliasName = `alias/${unique('key')}`;
  await client.send(new CreateAliasCommand({ AliasName, TargetKeyId: keyArn }));
  client.destroy();
  return AliasName;
}
