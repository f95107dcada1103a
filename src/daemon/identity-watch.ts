/**
 * Looks every now and then whether a local file is still the same. The agent watches it too, and sooner, where its user
 * may; this is for a file or directory that only root may look into.
 */
import { stat } from 'node:fs';

const LOOK_EVERY_MS = 2_000;

export function watchIdentity(path: string, onChange: () => void): { close(): void } {
  let known: string | undefined;
  let looking = false;
  const look = () => {
    // A file system that hangs must not take all of libuv's threads.
    if (looking) return;
    looking = true;
    stat(path, { bigint: true }, (error, found) => {
      const seen =
        error === null ? `${found.dev} ${found.ino} ${found.size} ${found.mtimeNs} ${found.ctimeNs}` : 'none';
      if (known !== undefined && seen !== known) onChange();
      known = seen;
      looking = false;
    });
  };
  look();
  const timer = setInterval(look, LOOK_EVERY_MS);
  return { close: () => clearInterval(timer) };
}
