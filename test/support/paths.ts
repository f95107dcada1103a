/** Where things are, seen from a compiled test: build/test/... has no copy of what is not TypeScript. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

function findRoot(): string {
  let directory = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(directory, 'package.json'))) directory = path.dirname(directory);
  return directory;
}

/** The repository. */
export const REPOSITORY = findRoot();
/** The program as it is shipped; scripts/test builds it first. */
export const PROGRAM = path.join(REPOSITORY, 'dist', 'secretsfs.mjs');
/** Frozen vectors. */
export const VECTORS = path.join(REPOSITORY, 'test', 'vectors');
