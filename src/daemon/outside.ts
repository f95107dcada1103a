/** What somebody else may do to a mount or its mountpoint, and how it is noticed. */
import { MountError, quote } from '../errors.ts';
import { prepareMountpoint } from '../fuse/mountpoint.ts';

const LOOK_EVERY_MS = 5_000;

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

/** Says once that the mount is no more; until close(). */
export function watchMount(isMounted: () => Promise<boolean>, onGone: () => void): { close(): void } {
  const look = async () => {
    // That it can't be told (no descriptor left, say) is not that it is so.
    if (await isMounted().catch(() => true)) return;
    clearInterval(timer);
    onGone();
  };
  const timer = setInterval(() => void look(), LOOK_EVERY_MS);
  return { close: () => clearInterval(timer) };
}

/** Not in order, so not with success: systemd is to bring it back. */
export function unmountedOutside(mountpoint: string): MountError {
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
