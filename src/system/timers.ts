/** Timers as a port: what waits for minutes must be testable in milliseconds. */
export interface Timers {
  set(callback: () => void, delayMs: number): unknown;
  clear(timer: unknown): void;
}

export const realTimers: Timers = {
  set: (callback, delayMs) => setTimeout(callback, delayMs),
  clear: (timer) => clearTimeout(timer as NodeJS.Timeout),
};

/** Resolves after so long, or when the signal ends it. */
export function pause(timers: Timers, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      timers.clear(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = timers.set(end, delayMs);
    signal.addEventListener('abort', end);
  });
}
