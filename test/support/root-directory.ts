/** A directory that root alone may change, up to the top: for what hooks run. Gone after the test. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TestContext } from 'node:test';

export async function rootDirectory(t: Pick<TestContext, 'after'>): Promise<string> {
  const directory = await mkdtemp('/run/secretsfs-test-');
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** An executable of that text; returns its path. */
export async function script(directory: string, name: string, text: string): Promise<string> {
  const file = path.join(directory, name);
  await writeFile(file, text, { mode: 0o755 });
  return file;
}
