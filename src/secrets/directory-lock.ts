/**
 * Who writes to a directory store: one process at a time, by flock(2) on a file in `.secretsfs`, which ends with the
 * process. What another one left unfinished there is removed by the next.
 */
import { constants } from 'node:fs';
import { access, mkdir, readdir, unlink } from 'node:fs/promises';
import { OutputError, quote } from '../errors.ts';
import { lockFile } from '../system/locks.ts';
import type { OpenDirectory } from '../system/open-directory.ts';
import { unless } from './directory-tree.ts';
import { RESERVED } from './location.ts';

const LOCK = 'lock';
/** A write takes milliseconds; thousands may be before us. */
const WAIT_MS_MAX = 30_000;
const WAIT_STEP_MS = 5;

/** Runs `work` with the directory for unfinished files. Throws OutputError where others hold the lock for too long. */
export async function holdingStore<T>(
  root: OpenDirectory,
  work: (own: OpenDirectory) => Promise<T>,
): Promise<T> {
  await mkdir(root.at(RESERVED), { mode: 0o700 }).catch(unless('EEXIST'));
  const own = await root.openChild(RESERVED);
  try {
    const lock = await waitForLock(own);
    try {
      for (const name of await readdir(own.self)) {
        if (name !== LOCK) await unlink(own.at(name)).catch(unless('ENOENT'));
      }
      return await work(own);
    } finally {
      lock.release();
    }
  } finally {
    await own.close();
  }
}

/** Throws an error of the system where holdingStore() could not begin; changes nothing. */
export async function mayHold(root: OpenDirectory): Promise<void> {
  const own = await root.openChild(RESERVED).catch(unless('ENOENT'));
  try {
    await access((own ?? root).self, constants.W_OK | constants.X_OK);
  } finally {
    await own?.close();
  }
}

async function waitForLock(own: OpenDirectory) {
  for (let waitedMs = 0; waitedMs < WAIT_MS_MAX; waitedMs += WAIT_STEP_MS) {
    const lock = lockFile(own.at(LOCK));
    if (lock !== undefined) return lock;
    await new Promise((resolve) => setTimeout(resolve, WAIT_STEP_MS));
  }
  throw new OutputError(
    'output-failed',
    `cannot write below ${quote(own.shown)}: another process holds its lock`,
    {
      hint: `fuser -v ${quote(`${own.shown}/${LOCK}`)} shows which`,
    },
  );
}
