/**
 * Looks every now and then whether a local file is still the same. The agent watches it too, and sooner, where its user
 * may; this is for a file or directory that only root may look into.
 */
import { stat } from 'node:fs/promises';
import type { FileLane } from '../system/file-lane.ts';

const LOOK_EVERY_MS = 2_000;

/** In the lane of whoever opens the file: where it can't be looked at, it can't be opened. */
export function watchIdentity(path: string, lane: FileLane, onChange: () => void): { close(): void } {
  let known: string | undefined;
  let looking = false;
  const look = async () => {
    if (looking) return;
    looking = true;
    const seen = await lane
      .run(() => stat(path, { bigint: true }))
      .then(
        ({ dev, ino, size, mtimeNs, ctimeNs }) => `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`,
        () => 'none',
      );
    looking = false;
    if (known !== undefined && seen !== known) onChange();
    known = seen;
  };
  void look();
  const timer = setInterval(() => void look(), LOOK_EVERY_MS);
  return { close: () => clearInterval(timer) };
}
