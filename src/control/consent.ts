/**
 * An operator's word that an older bundle may go live, this once: a file beside the control socket. Who answers that socket
 * speaks to the network, and must not be able to say it; only root and the user of the mount can make a file there.
 */
import { constants } from 'node:fs';
import { lstat, open, readdir, unlink } from 'node:fs/promises';
import path from 'node:path';
import { ControlError, errnoWords, quote } from '../errors.ts';

const CONSENT = 'allow-rollback';
/** No name of a part has one. */
const OF = ',';

/**
 * Gives it, in a directory of makeSocketDirectory(), for the part of that name or a mount of one bundle. Returns what takes it back where it was not used. Throws ControlError
 * control-denied for somebody who may not.
 */
export async function allowRollback(directory: string, part?: string): Promise<() => Promise<void>> {
  const file = path.join(directory, consentOf(part));
  const takeBack = () => remove(file);
  try {
    // Of somebody who gave it and was killed.
    await takeBack();
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    await (await open(file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)).close();
  } catch (cause) {
    throw new ControlError(
      'control-denied',
      `cannot allow a rollback: cannot make ${quote(file)}: ${errnoWords(cause)}`,
      { hint: 'run as root, or as the user of the mount', cause },
    );
  }
  return takeBack;
}

/**
 * Uses up that of the same part: `uid` or root gave it. `part` is as it was asked for, and may be anything. Throws ControlError
 * control-denied where nobody gave it.
 */
export async function useRollback(directory: string, uid: number, part?: string): Promise<void> {
  const name = consentOf(part);
  const file = path.join(directory, name);
  const stat = path.basename(file) === name ? await lstat(file).catch(() => undefined) : undefined;
  if (stat?.isFile() === true && (stat.uid === uid || stat.uid === 0)) {
    // Where it can't be used up it is not given, or it would be for ever.
    const used = await unlink(file).then(
      () => true,
      () => false,
    );
    if (used) return;
  }
  throw new ControlError('control-denied', 'cannot roll back: no operator allowed it', {
    hint: 'secretsfs remount --allow-rollback does, as root or as the user of the mount: a request alone does not',
  });
}

/** What somebody left behind is no consent of today. What can't be removed can't be used either. */
export async function forgetRollback(directory: string): Promise<void> {
  const names = await readdir(directory).catch(() => []);
  const left = names.filter((name) => name === CONSENT || name.startsWith(`${CONSENT}${OF}`));
  await Promise.all(left.map((name) => remove(path.join(directory, name)).catch(() => undefined)));
}

function consentOf(part: string | undefined): string {
  return part === undefined ? CONSENT : `${CONSENT}${OF}${part}`;
}

async function remove(file: string): Promise<void> {
  try {
    await unlink(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
