/** The programs in docs/format.md do what it says they do. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { type Block, blocksOf } from '../../support/documents.ts';
import { REPOSITORY, VECTORS } from '../../support/paths.ts';

const [openLocal] = blocksOf('open-local');

/** Runs a sample where it finds node_modules. */
function run({ body }: Block, args: readonly string[]): Buffer {
  const directory = mkdtempSync(path.join(REPOSITORY, 'build', 'sample-'));
  try {
    const program = path.join(directory, 'sample.mjs');
    writeFileSync(program, body);
    return execFileSync(process.execPath, [program, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('the sample in docs/format.md opens a bundle with a key file', () => {
  const [key = '', bundle = ''] = ['key', 'v1.bundle'].map((name) => path.join(VECTORS, 'bundle', name));
  assert.deepEqual(run(openLocal, [key, bundle]), readFileSync(path.join(VECTORS, 'bundle', 'v1.tar')));
});

test('the sample in docs/format.md refuses a bundle that is not signed', () => {
  const [key = '', bundle = ''] = ['key', 'suite-0478.bundle'].map((name) =>
    path.join(VECTORS, 'bundle', name),
  );
  assert.throws(() => run(openLocal, [key, bundle]), /not signed/);
});
