/**
 * A mount that ends does end, also where something hangs. SIGKILL does it: process.exit() waits for libuv's threads, and
 * one of them may be in a system call that never returns.
 */
import type { RunningMount } from './mount-settings.ts';

/** An end that takes longer hangs on something: readers are better off with an error than with nothing. */
const STOP_MS_MAX = 20_000;

/** To be called once, when nothing has ended yet. */
export function endForSure(
  mount: Pick<RunningMount, 'ending' | 'hangs' | 'abandon'>,
  self: Pick<NodeJS.Process, 'pid' | 'kill' | 'once'>,
): void {
  const end = () => self.kill(self.pid, 'SIGKILL');
  void mount.ending.then(() => {
    setTimeout(() => {
      mount.abandon?.();
      end();
    }, STOP_MS_MAX).unref();
  });
  // The mount is gone, and what there is to say has been said.
  self.once('exit', () => {
    if (mount.hangs) end();
  });
}
