/**
 * Looks several times a second whether a local file is still the same, and tells when it is another that has stopped changing.
 * The agent watches it too, where its user may; this is for a file or directory that only root may look into.
 */
import { stat } from 'node:fs/promises';
import { fileIdentity } from '../system/file-identity.ts';
import { FILE_MS_MAX, type FileLane } from '../system/file-lane.ts';
import { realTimers, type Timers } from '../system/timers.ts';

/** With what else takes its time, a change is served within a second. */
const LOOK_EVERY_MS = 250;
/** Writes that follow each other sooner are one change, as for the agent. */
const SETTLED_MS = 150;

/**
 * In the lane of whoever opens the file: where it can't be looked at, it can't be opened. No answer is no change. `known`: the
 * revision that was fetched last, as fileIdentity() gives it; without it, what is there at first.
 */
export function watchIdentity(
  path: string,
  known: string | undefined,
  lane: Pick<FileLane, 'run'>,
  onChange: () => void,
  timers: Timers = realTimers,
): { close(): void } {
  let told = known;
  let last: string | undefined;
  let timer: unknown;
  let closed = false;
  const look = async () => {
    const seen = await lane
      .run(() => stat(path, { bigint: true }), { timeoutMs: FILE_MS_MAX })
      .then(fileIdentity, ({ code }: NodeJS.ErrnoException) =>
        code === 'ETIMEDOUT' ? (last ?? told ?? 'none') : 'none',
      );
    if (closed) return;
    told ??= seen;
    const settled = seen === (last ?? seen);
    last = seen;
    if (settled && seen !== told) {
      told = seen;
      onChange();
    }
    timer = timers.set(() => void look(), settled ? LOOK_EVERY_MS : SETTLED_MS);
  };
  void look();
  return {
    close() {
      closed = true;
      timers.clear(timer);
    },
  };
}
