/**
 * A start that waits: at boot the network, the credentials or the bundle may come later than we do. What others can mend is tried
 * again until it is mended or the time is over; a mistake of ours ends the start at once (failure-kinds.ts).
 *
 * Invariant: what may cost a use of a key is not tried here, but at the rate of everybody who failed in it (retries.ts).
 */
import { ControlError, SecretsfsError } from '../errors.ts';
import type { Timers } from '../system/timers.ts';
import { startWaits } from './failure-kinds.ts';
import type { Log } from './log.ts';

const FIRST_MS = 1_000;
/** No more than polling asks for. */
const SHARED_MS_MAX = 30_000;
/** Only this machine is asked. */
const LOCAL_MS_MAX = 5_000;

export interface StartWaitPorts {
  /** 0: the first failure ends the start. Infinity: it waits for ever. */
  readonly timeoutMs: number;
  readonly log: Log;
  readonly nowMs: () => number;
  readonly timers: Timers;
  /** From 0 up to 1. */
  readonly random: () => number;
  /** What it waits for now, in one line. */
  waiting(what: string): void;
}

/** What is to be there first. */
export interface Awaited {
  /** Tries it. */
  begin(): Promise<unknown>;
  /** It is there, whoever tried it. */
  isThere(): boolean;
  /** Why it was not when it was tried last, by whom ever. */
  failure(): SecretsfsError | undefined;
  /** Not only this machine is asked for it. */
  readonly asksOthers: boolean;
  /** After which time what may cost a use of a key is tried; Infinity: somebody else does, and calls wake(). */
  spreadMs(isFirst: boolean): number;
}

export class StartWait {
  readonly #ports: StartWaitPorts;
  readonly #wakers = new Set<() => void>();
  #isOver = false;
  #told: string | undefined;

  constructor(ports: StartWaitPorts) {
    this.#ports = ports;
  }

  /** Whether it waits at all. */
  get isPatient(): boolean {
    return this.#ports.timeoutMs > 0;
  }

  /** Returns when it is there. Throws what is not waited for, and ControlError wait-timeout. */
  async until(awaited: Awaited): Promise<void> {
    const { timeoutMs, nowMs } = this.#ports;
    const endMs = nowMs() + timeoutMs;
    for (let attempt = 1; ; attempt++) {
      let failure: unknown;
      try {
        await awaited.begin();
        return;
      } catch (error) {
        failure = error;
      }
      if (awaited.isThere()) return;
      if (!this.#waitsFor(failure)) throw failure;
      if (nowMs() >= endMs) throw tooLate(failure, timeoutMs);
      this.#tell(failure);
      const dueMs = Math.min(endMs, nowMs() + this.#delayMs(failure, attempt, awaited));
      if (await this.#comes(awaited, failure, dueMs)) return;
    }
  }

  /** Something was tried: who waits looks what became of it. */
  wake(): void {
    for (const wake of [...this.#wakers]) wake();
  }

  /** Nobody waits any more: what failed last ends the start. */
  stop(): void {
    this.#isOver = true;
    this.wake();
  }

  #waitsFor(error: unknown): error is SecretsfsError {
    if (!this.isPatient || this.#isOver || !(error instanceof SecretsfsError)) return false;
    return startWaits(error.code) !== 'never';
  }

  #delayMs({ code }: SecretsfsError, attempt: number, { asksOthers, spreadMs }: Awaited): number {
    if (asksOthers && startWaits(code) === 'spread') return spreadMs(attempt === 1);
    const most = Math.min(FIRST_MS * 2 ** (attempt - 1), asksOthers ? SHARED_MS_MAX : LOCAL_MS_MAX);
    return Math.round((most * (1 + this.#ports.random())) / 2);
  }

  /** True as soon as it is there; false at `dueMs`. Throws what is not waited for. */
  async #comes(awaited: Awaited, before: SecretsfsError, dueMs: number): Promise<boolean> {
    const { nowMs } = this.#ports;
    let failure = before;
    while (nowMs() < dueMs) {
      await this.#pause(dueMs - nowMs());
      if (awaited.isThere()) return true;
      failure = awaited.failure() ?? failure;
      if (!this.#waitsFor(failure)) throw failure;
      this.#tell(failure);
    }
    return false;
  }

  /** Until wake(), at most so long. */
  #pause(delayMs: number): Promise<void> {
    const { timers } = this.#ports;
    return new Promise((resolve) => {
      const end = () => {
        if (timer !== undefined) timers.clear(timer);
        this.#wakers.delete(end);
        resolve();
      };
      const timer = delayMs === Number.POSITIVE_INFINITY ? undefined : timers.set(end, delayMs);
      this.#wakers.add(end);
    });
  }

  #tell({ code, message }: SecretsfsError): void {
    const { log, waiting } = this.#ports;
    // A message may hold numbers that change with each attempt.
    if (this.#told !== code) log.info('start-waits', { code });
    this.#told = code;
    waiting(`${message} (${code})`);
  }
}

function tooLate({ message, hint }: SecretsfsError, timeoutMs: number): ControlError {
  return new ControlError(
    'wait-timeout',
    `cannot start: there is nothing to serve after ${timeoutMs / 1000} s: ${message}`,
    { hint },
  );
}
