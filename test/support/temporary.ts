/** A directory that is gone after the test, whatever happens. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';

export async function temporaryDirectory(t: Pick<TestContext, 'after'>): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'secretsfs-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}
