/** A timer that fires again and again, until it is closed, never twice at the same distance. */
import { realTimers, type Timers } from '../system/timers.ts';
import type { Watch } from './source.ts';

/** Instances that were started together must not ask together. */
const JITTER = 0.2;

/** Calls `hint` every `intervalMs`, give or take a fifth. */
export function startPolling(
  hint: () => void,
  intervalMs: number,
  timers: Timers = realTimers,
  random: () => number = Math.random,
): Watch {
  let timer: unknown;
  let closed = false;
  const next = (): void => {
    const delayMs = Math.round(intervalMs * (1 - JITTER + 2 * JITTER * random()));
    timer = timers.set(() => {
      if (closed) return;
      next();
      hint();
    }, delayMs);
  };
  next();
  return {
    async close() {
      closed = true;
      timers.clear(timer);
    },
  };
}
