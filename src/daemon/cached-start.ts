/**
 * A start from the bundle that is kept on the disk, where no source has anything to serve. Which failures that is for: all but
 * mistakes, and but those of keys, which would fail of the kept bundle too.
 */
import { classOf, SecretsfsError } from '../errors.ts';
import type { BundleCache } from './bundle-cache.ts';
import { isRefusal, startWaits } from './failure-kinds.ts';
import { errorFields, type Log } from './log.ts';
import { type RetryTimes, sharedWaitMs } from './retries.ts';

export interface CachedStartPorts {
  readonly cache: Pick<BundleCache, 'file' | 'isThere' | 'refused' | 'served' | 'describe'>;
  readonly log: Log;
  readonly nowMs: () => number;
  /** From 0 up to 1. */
  readonly random: () => number;
  readonly retries: () => RetryTimes;
  /** Opens what is kept and brings it live. */
  begin(): Promise<void>;
}

export class CachedStart {
  readonly #ports: CachedStartPorts;
  #isRefused = false;
  /** What opening it may cost is spent at the rate of all who failed. */
  #notBeforeMs: number | undefined;

  constructor(ports: CachedStartPorts) {
    this.#ports = ports;
  }

  /** Whether it went live in place of what failed. */
  async insteadOf(error: unknown): Promise<boolean> {
    const { cache, log, nowMs, begin } = this.#ports;
    if (!(error instanceof SecretsfsError) || startWaits(error.code) === 'never') return false;
    if (classOf(error.code) === 'key' && !isRefusal(error)) return false;
    if (this.#isRefused || !cache.isThere || nowMs() < (this.#notBeforeMs ?? 0)) return false;
    try {
      await begin();
    } catch (failure) {
      if (!(failure instanceof SecretsfsError)) throw failure;
      this.#failed(failure);
      return false;
    }
    const { file, confirmed } = cache.describe();
    log.warn('started-from-cache', { file, confirmed, ...errorFields(error) });
    cache.served();
    return true;
  }

  #failed(failure: SecretsfsError): void {
    const { cache, nowMs, random, retries } = this.#ports;
    this.#isRefused = isRefusal(failure);
    cache.refused(`${failure.message} (${failure.code})`);
    if (classOf(failure.code) !== 'key' || failure.code === 'key-unreachable') return;
    const isFirst = this.#notBeforeMs === undefined;
    this.#notBeforeMs = nowMs() + sharedWaitMs(retries().sharedMs, isFirst, random);
  }
}
