/** The programs in docs/format.md do what it says they do. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { REPOSITORY, VECTORS } from '../../support/paths.ts';

const samples = [
  ...readFileSync(path.join(REPOSITORY, 'docs', 'format.md'), 'utf8').matchAll(/```js\n(.*?)```/gs),
];

/** Runs a sample where it finds node_modules. */
function run(index: number, args: readonly string[], nodeArgs: readonly string[] = []): Buffer {
  const directory = mkdtempSync(path.join(REPOSITORY, 'build', 'sample-'));
  try {
    const program = path.join(directory, 'sample.mjs');
    writeFileSync(program, samples[index]?.[1] ?? '');
    return execFileSync(process.execPath, [...nodeArgs, program, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('the sample in docs/format.md opens a bundle with a key file', () => {
  const [key = '', bundle = ''] = ['key', 'v1.bundle'].map((name) => path.join(VECTORS, 'bundle', name));
  assert.deepEqual(run(0, [key, bundle]), readFileSync(path.join(VECTORS, 'bundle', 'v1.tar')));
});

test('the sample in docs/format.md refuses a bundle that is not signed', () => {
  const [key = '', bundle = ''] = ['key', 'suite-0478.bundle'].map((name) =>
    path.join(VECTORS, 'bundle', name),
  );
  assert.throws(() => run(0, [key, bundle]), /not signed/);
});

test('the sample for KMS in docs/format.md is a program', () => {
  assert.equal(samples.length, 2);
  run(1, [], ['--check']);
});
