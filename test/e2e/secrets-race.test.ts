/** Two people, one secret: the commands themselves, many times at once, so in this process. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { after, before, test } from 'node:test';
import { runCli } from '../../src/cli/cli.ts';
import { awsEnv, createBucket, createKey, type Moto, replaceEnv, startMoto } from '../support/moto.ts';
import { type OneAtATime, startOneAtATime } from '../support/one-at-a-time.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** Of each of the two. */
const COUNTS = process.env['SECRETSFS_SOAK'] === undefined ? 25 : 100;

let moto: Moto;
let proxy: OneAtATime;
let key: string;
let restoreEnv: () => void;
before(async () => {
  moto = await startMoto();
  proxy = await startOneAtATime(moto.url);
  key = await createKey(moto.url);
  // The SDK reads the process's own.
  restoreEnv = replaceEnv(awsEnv(proxy.url));
});
after(async () => {
  restoreEnv?.();
  await proxy?.close();
  await moto?.stop();
});

interface Ran {
  readonly code: number;
  /** What --json gave, on stdout or stderr. */
  readonly facts: {
    readonly etag: string;
    readonly version: string;
    readonly replaced?: { readonly version: string };
    readonly error?: { readonly code: string };
  };
}

async function secretsfs(store: string, ...args: string[]): Promise<Ran> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const env = awsEnv(proxy.url, {
    SECRETSFS_STORE: store,
    KMS_KEY_ID: key,
    SECRETSFS_FORCE_PATH_STYLE: 'true',
  });
  const code = await runCli([...args, '--json'], { env, stdin, stdout, stderr } as unknown as NodeJS.Process);
  const text = String((code === 0 ? stdout : stderr).read());
  return { code, facts: JSON.parse(text) as Ran['facts'] };
}

/** Counts up until `times` are done, as somebody who reads, thinks, and writes what he made of what he read. */
async function countUp(store: string, file: string, times: number): Promise<{ refused: number }> {
  let refused = 0;
  for (let done = 0; done < times; ) {
    const read = await secretsfs(store, 'download', 'counter', file, '--force');
    assert.equal(read.code, 0);
    await writeFile(file, String(Number(await readFile(file, 'latin1')) + 1));
    const { code, facts } = await secretsfs(store, 'upload', file, 'counter', '--if-match', read.facts.etag);
    if (code === 0) done++;
    else {
      assert.equal(facts.error?.code, 'output-changed');
      refused++;
    }
  }
  return { refused };
}

for (const kind of ['a bucket', 'a directory']) {
  test(`two who count in one secret of ${kind} ${2 * COUNTS} times lose no count`, async (t) => {
    const directory = await temporaryDirectory(t);
    const store =
      kind === 'a directory' ? await temporaryDirectory(t) : `s3://${await createBucket(moto.url)}`;
    const file = (name: string) => path.join(directory, name);
    await writeFile(file('zero'), '0');
    const zero = await secretsfs(store, 'upload', file('zero'), 'counter');
    assert.equal(zero.code, 0, JSON.stringify(zero.facts));
    const counted = await Promise.all([
      countUp(store, file('one'), COUNTS),
      countUp(store, file('two'), COUNTS),
    ]);
    assert.equal((await secretsfs(store, 'download', 'counter', file('end'))).code, 0);
    assert.equal(await readFile(file('end'), 'latin1'), `${2 * COUNTS}`);
    assert.ok(
      counted.some(({ refused }) => refused > 0),
      'they never met: nothing was tried',
    );
  });
}

test(`of two who replace a secret at once, ${COUNTS} times, nobody replaces what the other has just written`, async (t) => {
  const directory = await temporaryDirectory(t);
  const store = `s3://${await createBucket(moto.url, { versioned: true })}`;
  const files = ['one', 'two'].map((name) => path.join(directory, name));
  for (const file of files) await writeFile(file, path.basename(file));
  const successes: Ran['facts'][] = [];
  let refused = 0;
  for (let round = 0; round < COUNTS; round++) {
    const both = await Promise.all(files.map((file) => secretsfs(store, 'upload', file, 'secret')));
    assert.ok(both.some(({ code }) => code === 0));
    for (const { code, facts } of both) {
      if (code === 0) successes.push(facts);
      else {
        assert.equal(facts.error?.code, 'output-changed');
        refused++;
      }
    }
  }
  assert.ok(refused > 0, 'they never met: nothing was tried');
  // Each version was seen and replaced by one writer at most; only the last by none.
  const replaced = successes.flatMap((facts) =>
    facts.replaced === undefined ? [] : [facts.replaced.version],
  );
  assert.equal(new Set(replaced).size, replaced.length);
  assert.equal(replaced.length, successes.length - 1);
  const made = new Set(successes.map(({ version }) => version));
  assert.ok(replaced.every((version) => made.has(version)));
});
