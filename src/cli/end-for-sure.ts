/** A mount that ends does end, also where something hangs: by SIGKILL. (A call on files that hangs: system/file-lane.ts.) */
import type { RunningMount } from './mount-settings.ts';

/** An end that takes longer hangs on something: readers are better off with an error than with nothing. */
const STOP_MS_MAX = 20_000;

/** To be called once, when nothing has ended yet. */
export function endForSure(
  mount: Pick<RunningMount, 'ending' | 'abandon'>,
  self: Pick<NodeJS.Process, 'pid' | 'kill'>,
): void {
  void mount.ending.then(() => {
    setTimeout(() => {
      mount.abandon?.();
      self.kill(self.pid, 'SIGKILL');
    }, STOP_MS_MAX).unref();
  });
}
