/**
 * When what failed is tried again, so that a fleet which failed together does not come back together. What one machine fails in
 * by itself is tried soon, and later each time (unseal-limits.ts). What S3, KMS or a bundle may have made all instances fail in
 * is spread from the first retry on, at an even rate: a rate that falls would be a burst at its start.
 */

/** The longest that the first attempt waits after a failure of this machine: whoever mends it is still looking. */
const OWN_MS = 10_000;
/** Of a fleet, one attempt of each instance in this time: less than polling asks for, and over for all soon after an outage. */
const SHARED_MS = 120_000;
/** Short intervals are asked for where few instances are, and by tests. */
const SHARED_INTERVALS = 4;

const JITTER = 0.2;
/** Nothing is tried again at once. */
const WAIT_MS_MIN = 100;

export interface RetryTimes {
  readonly ownMs: number;
  readonly sharedMs: number;
}

export function retryTimes({
  pollMs,
  spreadMs,
}: {
  readonly pollMs: number;
  readonly spreadMs: number;
}): RetryTimes {
  return {
    ownMs: Math.min(OWN_MS, pollMs),
    sharedMs: Math.max(spreadMs, Math.min(SHARED_MS, SHARED_INTERVALS * pollMs)),
  };
}

/**
 * Of one instance: anywhere within `sharedMs` at first, because all may have failed at one moment; then `sharedMs`, give or take
 * a fifth. Of all of them that is one rate from the first to the last.
 */
export function sharedWaitMs(sharedMs: number, isFirst: boolean, random: () => number): number {
  return notAtOnce(sharedMs * (isFirst ? random() : 1 - JITTER + 2 * JITTER * random()));
}

/** In whole milliseconds. */
export function notAtOnce(delayMs: number): number {
  return Math.max(WAIT_MS_MIN, Math.round(delayMs));
}
