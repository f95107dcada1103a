/** No page of a process of this mount reaches a disk, or it does not start. */
import { MountError } from '../errors.ts';
import { swapExcluded } from '../system/cgroups.ts';
import { makeSwaplessCgroup, type OwnCgroup } from '../system/own-cgroup.ts';

/**
 * The control group that was made for it: the caller removes it. Undefined where none is needed, or, after `onAllowed`,
 * none can be had. Throws MountError memory-swappable where that is not allowed.
 */
export async function leaveSwap(
  instance: string,
  onAllowed: (() => void) | undefined,
): Promise<OwnCgroup | undefined> {
  if (await swapExcluded()) return undefined;
  const made = await makeSwaplessCgroup(instance);
  if (made !== undefined) return made;
  if (onAllowed === undefined) {
    throw new MountError(
      'memory-swappable',
      'cannot keep memory out of swap: no control group of this process forbids it',
      { hint: 'run under systemd with MemorySwapMax=0 (cgroup v2), switch swap off, or pass --allow-swap' },
    );
  }
  onAllowed();
  return undefined;
}
