/** What somebody else may do to a mount or its mountpoint, and how it is noticed. */
import { MountError, quote } from '../errors.ts';
import { prepareMountpoint } from '../fuse/mountpoint.ts';
import type { Lifetime } from './lifetime.ts';
import type { Log } from './log.ts';

const LOOK_EVERY_MS = 5_000;
/** Of a mount that umount is the way to end: whoever did looks next whether it is gone. */
const LOOK_OFTEN_MS = 500;

/** Taking a bundle takes its time: somebody may have mounted on `mountpoint` meanwhile, or replaced it. Throws MountError. */
export async function checkStillThere(mountpoint: string): Promise<void> {
  const again = await prepareMountpoint(mountpoint);
  if (again.path === mountpoint) return;
  throw new MountError(
    'mountpoint-invalid',
    `cannot mount on ${quote(mountpoint)}: it was replaced meanwhile`,
    {
      hint: 'every directory above a mountpoint should belong to root, or to you',
    },
  );
}

/** Says once that the mount is no more; until close(). `endsByUmount`: as unmountedOutside(). */
export function watchMount(
  isMounted: () => Promise<boolean>,
  endsByUmount: boolean,
  onGone: () => void,
): { close(): void } {
  const look = async () => {
    // That it can't be told (no descriptor left, say) is not that it is so.
    if (await isMounted().catch(() => true)) return;
    clearInterval(timer);
    onGone();
  };
  const timer = setInterval(() => void look(), endsByUmount ? LOOK_OFTEN_MS : LOOK_EVERY_MS);
  return { close: () => clearInterval(timer) };
}

/**
 * Not in order, so not with success: systemd is to bring it back. But `endsByUmount`, of fstab's, which nobody brings back:
 * undefined, it is in order.
 */
export function unmountedOutside(mountpoint: string, endsByUmount: boolean): MountError | undefined {
  if (endsByUmount) return undefined;
  return new MountError('mount-failed', `cannot go on: somebody else unmounted ${quote(mountpoint)}`, {
    hint: 'secretsfs unmount ends a mount for good',
  });
}

/** The same of one that is in the mount table still. */
export function connectionEnded(mountpoint: string): MountError {
  return new MountError('mount-failed', `cannot go on: the connection of ${quote(mountpoint)} was ended`, {
    hint: 'umount -f does that; secretsfs unmount ends a mount for good',
  });
}

/** Says that somebody else ended it, and ends the rest. `why` undefined: in order. */
export async function endOutside(
  life: Pick<Lifetime, 'isEnding' | 'fail' | 'stop'>,
  log: Log,
  mountpoint: string,
  why: MountError | undefined,
): Promise<void> {
  if (life.isEnding) return;
  log[why === undefined ? 'info' : 'error']('unmounted-from-outside', { mountpoint });
  await (why === undefined ? life.stop() : life.fail(why));
}
