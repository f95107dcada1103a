/** A store in moto's S3 with a key of moto's KMS, as people have them: in the environment, under their old names. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import type { TestContext } from 'node:test';
import { awsEnv, createBucket, createKey, type Moto } from './moto.ts';
import { Bench, type Outcome, run } from './program.ts';

export interface StoreBench {
  readonly bench: Bench;
  readonly bucket: string;
  readonly keyArn: string;
}

export async function storeBench(
  t: Pick<TestContext, 'after'>,
  moto: Moto,
  options: { readonly versioned?: boolean; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<StoreBench> {
  const bucket = await createBucket(moto.url, options);
  const keyArn = await createKey(moto.url);
  const env = {
    ...awsEnv(moto.url),
    // awscli of Debian 12 reads this one alone.
    AWS_DEFAULT_REGION: 'eu-west-1',
    KMS_KEY_ID: keyArn,
    S3_PATH: `s3://${bucket}/prod`,
    ...options.env,
  };
  const bench = await Bench.create(t, env);
  bench.env['XDG_CACHE_HOME'] = bench.path('cache');
  return { bench, bucket, keyArn };
}

/** Runs lines of shell as a user would type them, with `secretsfs` and Debian's `aws` in PATH; never throws for the exit code. */
export async function type({ bench }: StoreBench, lines: string, stdin?: Uint8Array): Promise<Outcome> {
  const bin = bench.path('bin');
  await mkdir(bin, { recursive: true });
  const wrapper = `#!/bin/sh\nexec ${process.execPath} ${bench.program} "$@"\n`;
  await writeFile(`${bin}/secretsfs`, wrapper, { mode: 0o755 });
  const url = bench.env['AWS_ENDPOINT_URL'];
  await writeFile(`${bin}/aws`, `#!/bin/sh\nexec /usr/bin/aws --endpoint-url ${url} "$@"\n`, { mode: 0o755 });
  const env = { ...bench.env, PATH: `${bin}:${process.env['PATH']}`, LC_ALL: 'C.UTF-8' };
  return run('bash', ['-euo', 'pipefail', '-c', lines], {
    env,
    cwd: bench.directory,
    ...(stdin === undefined ? {} : { stdin }),
  });
}

/** The same, insisting on success; stdout without the newline at its end. */
export async function typed(store: StoreBench, lines: string, stdin?: Uint8Array): Promise<string> {
  const { code, stdout, stderr } = await type(store, lines, stdin);
  if (code !== 0) throw new Error(`${lines} exited with ${code}: ${stderr}`);
  return stdout.replace(/\n$/, '');
}

/** Insists that `line` fails with one message of this code and one hint, which together match `words`. */
export async function refused(
  store: StoreBench,
  line: string,
  code: string,
  words: RegExp,
  stdin?: Uint8Array,
): Promise<void> {
  const outcome = await type(store, line, stdin);
  assert.notEqual(outcome.code, 0, `${line} did not fail`);
  assert.equal(outcome.stdout, '', line);
  const [message = '', hint = '', ...rest] = outcome.stderr.trim().split('\n');
  assert.deepEqual(rest, [], outcome.stderr);
  assert.match(message, new RegExp(`^secretsfs: .* \\(${code}\\)$`), line);
  assert.match(hint, /^secretsfs: hint: ./, line);
  assert.match(`${message}\n${hint}`, words, line);
}
