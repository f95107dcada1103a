/**
 * From exec to a served mount of 100 files, by local key and by S3 and KMS. Beside it, what one would write without
 * us: aws, openssl and tar into a ramfs, of which the start-up of the shell and of Python is taken off.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { awsEnv, createBucket, createKey, startMoto } from '../support/moto.ts';
import { PROGRAM } from '../support/paths.ts';
import { Bench, Daemon, type LogLine, must } from '../support/program.ts';
import { driverArguments, ourName, ramfs } from './filesystems.ts';
import {
  aheadOf,
  atMost,
  type Benchmark,
  interleaved,
  median,
  type Result,
  type Scope,
  timed,
} from './measure.ts';

const FILES = 100;
const FILE_BYTES = 2000;
const RUNS = 9;
const LOCAL_MS_MAX = 600;
/** Debian's: the other client that there is. */
const AWS = '/usr/bin/aws';
const PYTHON = '/usr/bin/python3';
/** What ends each phase, and what the phase is called. */
const PHASES = [
  ['starting', 'loading and checks'],
  ['activated', 'fetching and opening'],
  ['ready', 'mounting'],
] as const;

/** $1 endpoint, $2 object, $3 wrapped data key, $4 nonce in hex, $5 where to. The shell's errors are ours. */
const RECIPE = `set -euo pipefail
key=$(${AWS} --endpoint-url "$1" kms decrypt --ciphertext-blob "fileb://$3" --query Plaintext --output text |
  base64 -d | od -An -v -tx1 | tr -d ' \\n')
${AWS} --endpoint-url "$1" s3 cp --quiet "$2" - | openssl enc -d -aes-256-cbc -K "$key" -iv "$4" | tar -x -C "$5"`;
const RECIPE_AWS_CALLS = 2;

export const ready: Benchmark = {
  name: 'ready',
  async run(scope) {
    const moto = await startMoto();
    scope.after(() => moto.stop());
    const local = await Bench.create(scope);
    const remote = await Bench.create(scope, awsEnv(moto.url));
    await mkdir(local.path('dir'));
    for (let i = 0; i < FILES; i++) await writeFile(local.path('dir', `file-${i}`), randomBytes(FILE_BYTES));
    await mkdir(local.path('mnt'));
    await mkdir(remote.path('mnt'));
    await local.must(['keygen', 'key']);
    await local.must(['pack', '--dir', 'dir', '--key', 'local:key', 'web.enc']);
    const bucket = await createBucket(moto.url);
    const url = `s3://${bucket}/web.enc`;
    const key = await createKey(moto.url);
    const style = '--force-path-style';
    await remote.must(['pack', '--dir', local.path('dir'), '--key', key, style, url]);
    const recipe = await Recipe.create(remote, { endpoint: moto.url, bucket, key, files: local.path('dir') });

    const driver = driverArguments('default');
    const localMount = new MountTimer(scope, local, ['web.enc', 'mnt', '--key', 'local:key', ...driver]);
    const remoteMount = new MountTimer(scope, remote, [url, 'mnt', '--key', key, style, ...driver]);
    const ms = await interleaved(RUNS, {
      node: () => timed(() => must(process.execPath, ['-e', '0'])),
      version: () => timed(() => must(process.execPath, [PROGRAM, 'version'])),
      status: () => timed(() => local.must(['status'])),
      bash: () => timed(() => must('bash', ['-c', ':'])),
      python: () => timed(() => must(PYTHON, ['-c', ''])),
      aws: () => timed(() => must(AWS, ['--version'], { env: remote.env })),
      recipe: () => recipe.run(),
      local: () => localMount.run(),
      remote: () => remoteMount.run(),
    });
    const net = ms.recipe - ms.bash - RECIPE_AWS_CALLS * ms.aws;
    const netOfInterpreters = ms.recipe - ms.bash - RECIPE_AWS_CALLS * ms.python;
    const result = (name: string, value: number, note?: string): Result => ({
      name,
      value,
      unit: 'ms',
      statistic: `median of ${RUNS}`,
      ratio: { value: value / ms.node, to: 'node -e 0' },
      ...(note === undefined ? {} : { note }),
    });
    return [
      result('node -e 0', ms.node),
      result('secretsfs version', ms.version),
      result('secretsfs status', ms.status),
      {
        ...result(
          `exec to ready, ${FILES} files, local key, ${ourName('default')}`,
          ms.local,
          localMount.phases(),
        ),
        targets: [atMost(ms.local, LOCAL_MS_MAX, 'ms')],
      },
      {
        ...result(
          `exec to ready, ${FILES} files, S3 and KMS, ${ourName('default')}`,
          ms.remote,
          remoteMount.phases(),
        ),
        targets: [aheadOf(ms.remote, { 'the recipe less start-up of its interpreters': netOfInterpreters })],
      },
      result('the recipe: aws s3 cp, aws kms decrypt, openssl enc, tar', ms.recipe),
      result(
        'the recipe less start-up of bash and Python',
        netOfInterpreters,
        `${ms.bash.toFixed(0)} + ${RECIPE_AWS_CALLS} × ${ms.python.toFixed(0)} ms`,
      ),
      result(
        'the recipe less start-up of bash and aws --version',
        net,
        `${ms.bash.toFixed(0)} + ${RECIPE_AWS_CALLS} × ${ms.aws.toFixed(0)} ms`,
      ),
    ];
  },
};

/** The same files in a bucket, as one encrypts them with openssl under a data key that KMS wrapped. */
class Recipe {
  readonly #bench: Bench;
  readonly #args: readonly string[];
  readonly #target: string;

  private constructor(bench: Bench, args: readonly string[], target: string) {
    this.#bench = bench;
    this.#args = args;
    this.#target = target;
  }

  static async create(
    bench: Bench,
    from: {
      readonly endpoint: string;
      readonly bucket: string;
      readonly key: string;
      readonly files: string;
    },
  ): Promise<Recipe> {
    const env = bench.env;
    const aws = [AWS, '--endpoint-url', from.endpoint];
    const dataKey = randomBytes(32);
    const nonce = randomBytes(16).toString('hex');
    const object = `s3://${from.bucket}/web.tar.aes`;
    const at = (name: string) => bench.path(name);
    await writeFile(at('data-key'), dataKey);
    await must('tar', ['-c', '-f', at('web.tar'), '-C', from.files, '.']);
    const cipher = ['enc', '-aes-256-cbc', '-K', dataKey.toString('hex'), '-iv', nonce];
    await must('openssl', [...cipher, '-in', at('web.tar'), '-out', at('web.tar.aes')]);
    const [command = '', ...options] = aws;
    await must(command, [...options, 's3', 'cp', '--quiet', at('web.tar.aes'), object], { env });
    const wrap = ['kms', 'encrypt', '--key-id', from.key, '--plaintext', `fileb://${at('data-key')}`];
    const wrapped = await must(
      command,
      [...options, ...wrap, '--query', 'CiphertextBlob', '--output', 'text'],
      {
        env,
      },
    );
    await writeFile(at('data-key.kms'), Buffer.from(wrapped, 'base64'));
    const { directory } = await ramfs(bench, 'target');
    return new Recipe(bench, [from.endpoint, object, at('data-key.kms'), nonce, directory], directory);
  }

  async run(): Promise<number> {
    const took = await timed(() =>
      must('bash', ['-c', RECIPE, 'recipe', ...this.#args], { env: this.#bench.env }),
    );
    const names = await readdir(this.#target);
    if (names.length !== FILES) throw new Error(`the recipe made ${names.length} files, want ${FILES}`);
    for (const name of names) await rm(`${this.#target}/${name}`);
    return took;
  }
}

/** Mounts, takes the time until it is ready, unmounts. */
class MountTimer {
  readonly #scope: Scope;
  readonly #bench: Bench;
  readonly #args: readonly string[];
  readonly #phases = PHASES.map((): number[] => []);

  constructor(scope: Scope, bench: Bench, args: readonly string[]) {
    this.#scope = scope;
    this.#bench = bench;
    this.#args = args;
  }

  async run(): Promise<number> {
    const { directory: cwd, env } = this.#bench;
    const startedMs = Date.now();
    const start = performance.now();
    const child = spawn(process.execPath, [PROGRAM, 'mount', ...this.#args], {
      cwd,
      env,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const daemon = new Daemon(child);
    this.#scope.after(() => daemon.stop());
    await daemon.event('ready');
    const took = performance.now() - start;
    this.#note(daemon.lines, startedMs);
    await daemon.stop();
    return took;
  }

  #note(lines: readonly LogLine[], startedMs: number): void {
    let before = startedMs;
    for (const [i, [event]] of PHASES.entries()) {
      const at = Date.parse(String(lines.find((line) => line.event === event)?.['time']));
      this.#phases[i]?.push(at - before);
      before = at;
    }
  }

  phases(): string {
    return PHASES.map(([, what], i) => `${what} ${median(this.#phases[i] ?? []).toFixed(0)}`).join(', ');
  }
}
