/**
 * From an upload to a TLS handshake with nginx that shows the new certificate, nobody touching anything: a local file, an
 * object that a queue tells of, an object that is polled for. All settings are the defaults but the interval of the polls;
 * each round begins at a random moment, so that polls are anywhere in their interval. The clock runs from before the upload.
 */
import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PutBucketNotificationConfigurationCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { CreateQueueCommand, SQSClient } from '@aws-sdk/client-sqs';
import {
  ACCOUNT,
  awsEnv,
  createBucket,
  createKey,
  freePort,
  motoS3,
  startMoto,
  unique,
} from '../support/moto.ts';
import { Bench, type Daemon } from '../support/program.ts';
import { rootDirectory } from '../support/root-directory.ts';
import { makeCertificate, servedSerial, startNginx } from '../support/tls.ts';
import { driverArguments } from './filesystems.ts';
import { type Benchmark, median, type Result, type Scope } from './measure.ts';

const ROTATIONS = 10;
const POLL_S = 5;
const LOOK_EVERY_MS = 10;
const SERVED_MS_MAX = 60_000;
const REGION = 'eu-west-1';
const OBJECT = 'web.enc';

export const rotation: Benchmark = {
  name: 'rotation',
  async run(scope) {
    const moto = await startMoto();
    scope.after(() => moto.stop());
    const key = await createKey(moto.url);
    const subjects: Subject[] = [];
    for (const { how, withinMs, mounted } of [
      { how: 'a local file', withinMs: 1_000, mounted: publicFile },
      { how: 'a local file in a directory of root alone', withinMs: 1_000, mounted: localFile },
      { how: 'S3, told by a queue', withinMs: 3_000, mounted: queued },
      { how: `S3, polled every ${POLL_S} s`, withinMs: (POLL_S + 3) * 1_000, mounted: polled },
    ]) {
      const bench = await Bench.create(scope, awsEnv(moto.url, { SECRETSFS_FORCE_PATH_STYLE: 'true' }));
      const way = await mounted(scope, bench, { endpoint: moto.url, key });
      subjects.push(await Subject.create(scope, bench, { how, withinMs, ...way }));
    }
    for (let i = 0; i < ROTATIONS; i++) {
      await sleep(Math.random() * POLL_S * 1_000);
      for (const subject of subjects) await subject.rotate();
    }
    return subjects.map((subject) => subject.result());
  },
};

/** How a bundle gets from a file of ours to where the mount looks, and what the mount is given to look there. */
interface Way {
  readonly key: string;
  readonly source: readonly string[];
  upload(file: string): Promise<unknown>;
}
interface Aws {
  readonly endpoint: string;
  readonly key: string;
}

async function localFile(_scope: Scope, bench: Bench): Promise<Way> {
  await bench.must(['keygen', 'key']);
  return {
    key: 'local:key',
    source: [OBJECT, 'mnt', '--key', 'local:key'],
    upload: (file) => rename(file, bench.path(OBJECT)),
  };
}

/** Watched by the agent, whose user may look into the directory; else the supervisor looks now and then. */
async function publicFile(scope: Scope, bench: Bench): Promise<Way> {
  await chmod(bench.directory, 0o755);
  return localFile(scope, bench);
}

async function polled(scope: Scope, _bench: Bench, { endpoint, key }: Aws): Promise<Way> {
  const s3 = motoS3(endpoint, REGION);
  scope.after(() => s3.destroy());
  const Bucket = await createBucket(endpoint, { versioned: true });
  return {
    key,
    source: [`s3://${Bucket}/${OBJECT}`, 'mnt', '--key', key, '--poll', `${POLL_S}s`],
    upload: async (file) =>
      s3.send(new PutObjectCommand({ Bucket, Key: OBJECT, Body: await readFile(file) })),
  };
}

/** moto puts the message on the queue before it answers the upload. */
async function queued(scope: Scope, _bench: Bench, { endpoint, key }: Aws): Promise<Way> {
  const s3 = motoS3(endpoint, REGION);
  const sqs = new SQSClient({ endpoint, region: REGION, credentials: await s3.config.credentials() });
  scope.after(() => {
    s3.destroy();
    sqs.destroy();
  });
  const Bucket = await createBucket(endpoint, { versioned: true });
  const { QueueUrl = '' } = await sqs.send(new CreateQueueCommand({ QueueName: unique('uploads') }));
  const QueueArn = `arn:aws:sqs:${REGION}:${ACCOUNT}:${QueueUrl.split('/').at(-1)}`;
  const QueueConfigurations = [{ QueueArn, Events: ['s3:ObjectCreated:*' as const] }];
  await s3.send(
    new PutBucketNotificationConfigurationCommand({
      Bucket,
      NotificationConfiguration: { QueueConfigurations },
    }),
  );
  return {
    key,
    // Long after all this is over.
    source: [`s3://${Bucket}/${OBJECT}`, 'mnt', '--key', key, '--queue', QueueUrl, '--poll', '1h'],
    upload: async (file) =>
      s3.send(new PutObjectCommand({ Bucket, Key: OBJECT, Body: await readFile(file) })),
  };
}

type SubjectOptions = Way & { readonly how: string; readonly withinMs: number };

class Subject {
  readonly #bench: Bench;
  readonly #port: number;
  readonly #options: SubjectOptions;
  readonly #servedMs: number[] = [];
  /** Until the new generation was live. */
  readonly #liveMs: number[] = [];
  #daemon: Daemon | undefined;
  #serial = 0x0a00;

  private constructor(bench: Bench, port: number, options: SubjectOptions) {
    this.#bench = bench;
    this.#port = port;
    this.#options = options;
  }

  /** Mounted, and served by an nginx that the mount's hook tells of changes. */
  static async create(scope: Scope, bench: Bench, options: SubjectOptions): Promise<Subject> {
    const port = await freePort();
    const subject = new Subject(bench, port, options);
    for (const name of ['secrets', 'mnt']) await mkdir(bench.path(name));
    await subject.#upload();
    const probe = { address: `127.0.0.1:${port}`, servername: 'web.test', certificate: 'web.crt' };
    // What a hook is given must be root's, all the way up.
    const etc = await rootDirectory(scope);
    await writeFile(path.join(etc, 'nginx.conf'), `include ${bench.path('nginx.conf')};\n`);
    const nginx = { config: path.join(etc, 'nginx.conf'), probes: [probe] };
    const config = path.join(etc, 'web.yaml');
    // YAML takes JSON.
    await writeFile(config, JSON.stringify({ hooks: [{ name: 'web', nginx }] }));
    subject.#daemon = await bench.mount([
      ...options.source,
      ...['--name', 'web', '--config', config],
      ...driverArguments('default'),
    ]);
    await startNginx(bench, bench.path('mnt'), port);
    return subject;
  }

  /** Returns when the upload began, and the serial that is to be seen, in hex. */
  async #upload(): Promise<{ readonly startMs: number; readonly serial: string }> {
    this.#serial += 1;
    const serial = this.#serial.toString(16).toUpperCase().padStart(4, '0');
    await makeCertificate(this.#bench.path('secrets'), serial);
    await this.#bench.must([
      'pack',
      '--dir',
      'secrets',
      '--key',
      this.#options.key,
      '--name',
      'web',
      'new.enc',
    ]);
    const startMs = Date.now();
    await this.#options.upload(this.#bench.path('new.enc'));
    return { startMs, serial };
  }

  async rotate(): Promise<void> {
    const { startMs, serial } = await this.#upload();
    while ((await servedSerial(this.#port)) !== serial) {
      if (Date.now() - startMs > SERVED_MS_MAX)
        throw new Error(`${this.#options.how}: not served: ${this.#daemon?.text}`);
      await sleep(LOOK_EVERY_MS);
    }
    this.#servedMs.push(Date.now() - startMs);
    const activated = this.#daemon?.lines.filter(({ event }) => event === 'activated').at(-1);
    this.#liveMs.push(Date.parse(String(activated?.['time'])) - startMs);
  }

  result(): Result {
    const { how, withinMs } = this.#options;
    const maxMs = Math.max(...this.#servedMs);
    return {
      name: `upload to handshake: ${how}`,
      value: median(this.#servedMs),
      unit: 'ms',
      statistic: `median of ${ROTATIONS}`,
      note: `maximum ${maxMs}; live after ${median(this.#liveMs).toFixed(0)}`,
      samples: this.#servedMs,
      bound: withinMs,
      targets: [{ text: `maximum ≤ ${withinMs / 1_000} s`, met: maxMs <= withinMs }],
    };
  }
}
