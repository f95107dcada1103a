/**
 * Whether the mount answers, asked once a second by a statfs through the prober: stat is answered from caches even by a
 * stopped server. What leaves a probe unanswered is replaced.
 *
 * Invariants: this process never waits on its own mount; a prober that is late is ended; a healthy server is not killed for
 * ever because the prober hangs, nor the reverse, and the longer that goes on, the less often; errors, again and again, are
 * told and not mended: no server brings a connection back.
 */
import { readFileSync } from 'node:fs';
import { describeBug, MountError } from '../errors.ts';
import { type Helper, NoAnswer } from './helper.ts';
import type { Log } from './log.ts';

const PROBE_EVERY_MS = 1_000;
/** A server that leaves a request unanswered for so long is replaced. Under load a request takes milliseconds. */
export const PROBE_MS_MAX = 2_000;
/** The same, of a prober that starts meanwhile: its time is not the server's fault. */
const PROBE_MS_MAX_STARTING = 6_000;
/** Probes lost in a row before appearances are no longer believed. */
const PROBES_LOST_MAX = 3;
/** Requests taken while a probe was lost: its own, and one that shows that the server answers others. */
const REQUESTS_OF_THE_LIVING = 2;
/** Checks left out after a lost probe: a prober that was killed may leave behind what hangs. Less than a watchdog waits. */
const PAUSE_MAX = 16;
/** Probes in a row that are answered with an error, before the mount is given up. */
const WRONG_ANSWERS_MAX = 3;

export interface LivenessPorts {
  readonly prober: Pick<Helper, 'ask' | 'pid' | 'hasAnswered' | 'kill'>;
  /** pid: of the one that answers the kernel, if any does. */
  readonly servers: { readonly pid: number | undefined; kill(): void };
  /** How many requests the servers have taken so far. */
  requests(): number;
  /** By SIGSTOP, or by a debugger. */
  isStopped(pid: number): boolean;
  onAlive(): void;
  /** It answers with errors, again and again. */
  onLost(error: MountError): void;
  readonly log: Log;
}

export class Liveness {
  readonly #ports: LivenessPorts;
  #lostInARow = 0;
  #wrongInARow = 0;
  /** Checks that are left out. */
  #pause = 0;
  #asking = false;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(ports: LivenessPorts) {
    this.#ports = ports;
  }

  /** Asks once a second from now on. */
  start(): void {
    this.#timer = setInterval(() => void this.check(), PROBE_EVERY_MS);
  }

  /** Nothing is done any more about what is under way. */
  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
  }

  /** Resolves when the server answered. Throws NoAnswer, or MountError for an error that it answered. */
  async probe(timeoutMs = PROBE_MS_MAX): Promise<void> {
    await this.#ports.prober.ask({ do: 'statfs' }, timeoutMs);
  }

  /** One probe, and what follows from it. Does nothing while another is under way, or in a pause. Never throws. */
  async check(): Promise<void> {
    if (this.#asking) return;
    if (this.#pause > 0) {
      this.#pause -= 1;
      return;
    }
    this.#asking = true;
    const { prober, servers, requests, onAlive } = this.#ports;
    const { pid } = servers;
    const before = requests();
    try {
      await this.probe(prober.hasAnswered ? PROBE_MS_MAX : PROBE_MS_MAX_STARTING);
      this.#lostInARow = 0;
      this.#wrongInARow = 0;
      onAlive();
    } catch (error) {
      if (this.#stopped) return;
      if (!(error instanceof NoAnswer)) return this.#answeredWrongly(error);
      if (error.reason === 'ended') return;
      // One that took over meanwhile has its own time to answer.
      if (pid === undefined || pid !== servers.pid) return prober.kill();
      this.#lost(pid, requests() - before);
    } finally {
      this.#asking = false;
    }
  }

  /**
   * The server hangs, or the prober does. Where replacing the one that looks guilty does not help, both are. A prober that is
   * late is replaced in any case: what it waits for may never come.
   */
  #lost(pid: number, requests: number): void {
    const { prober, servers, isStopped, log } = this.#ports;
    this.#lostInARow += 1;
    const serverRuns = !isStopped(pid);
    const serverAnswers = serverRuns && requests >= REQUESTS_OF_THE_LIVING;
    // The question may never have left the prober; if the server hangs, the next one is lost as well.
    const isUnasked = serverRuns && requests === 0 && this.#lostInARow === 1;
    const proberHangs = serverAnswers || isUnasked || (prober.pid !== undefined && isStopped(prober.pid));
    const isUnclear = this.#lostInARow >= PROBES_LOST_MAX;
    if (isUnclear) this.#pause = Math.min(2 ** (this.#lostInARow - PROBES_LOST_MAX + 1), PAUSE_MAX);
    if (proberHangs || isUnclear) log.error('prober-hung', { pid: prober.pid });
    prober.kill();
    if (!proberHangs || isUnclear) {
      log.error('server-hung', { pid });
      servers.kill();
    }
  }

  /** The mount answers, and not as one that serves: the connection was aborted, or the server is wrong. */
  #answeredWrongly(error: unknown): void {
    const { log, onLost } = this.#ports;
    if (!(error instanceof MountError)) {
      log.error('bug', { error: describeBug(error) });
      return;
    }
    this.#wrongInARow += 1;
    if (this.#wrongInARow < WRONG_ANSWERS_MAX) return;
    this.#wrongInARow = 0;
    onLost(error);
  }
}

/** proc_pid_stat(5). */
export function isStopped(pid: number): boolean {
  try {
    return /\) [Tt] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}
