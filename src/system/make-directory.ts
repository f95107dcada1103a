/**
 * Makes a directory and what is missing above it, level by level: Node's recursive mkdir() says ENOENT for whatever else is
 * wrong, and where the kernel itself says ENOENT, below /proc for one, it tries for ever.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';

/** All that it makes is of mode 0700. Resolves where something stands there, whatever it is. Throws what mkdir(2) says. */
export async function makeDirectory(directory: string): Promise<void> {
  const failed = await errnoOfMaking(directory);
  if (failed === undefined) return;
  if ((failed as NodeJS.ErrnoException).code !== 'ENOENT') throw failed;
  await makeDirectory(path.dirname(directory));
  const again = await errnoOfMaking(directory);
  if (again !== undefined) throw again;
}

async function errnoOfMaking(directory: string): Promise<unknown> {
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return error;
  }
  return undefined;
}
