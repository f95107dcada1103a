/**
 * Listens to a queue that is told of uploads. A message is a hint and nothing else, removed once the hint is given. To begin to
 * listen is a hint too: it stands for what was uploaded before, and for what a listener heard that died before it was looked at.
 * Whatever goes wrong with the queue, polling goes on beside it, and the queue is tried again, later each time.
 */
import { SecretsfsError } from '../errors.ts';
import type { Timers } from '../system/timers.ts';
import { messageConcerns, type ObjectPlace } from './queue-message.ts';
import type { Watch } from './source.ts';

export interface QueueMessage {
  readonly body: string;
  /** What the queue wants to hear to remove it. */
  readonly receipt: string;
}

/** A queue that is open. */
export interface Queue {
  /**
   * Waits for messages, up to 20 s, or one second where it is to be known soon whether it works; none is no error. Throws
   * SecretsfsError, and the signal's reason; a queue that is gone is made, or looked for, by the next call.
   */
  receive(signal: AbortSignal, briefly: boolean): Promise<readonly QueueMessage[]>;
  remove(messages: readonly QueueMessage[]): Promise<void>;
  /** Takes away what it made. Never throws. */
  close(): Promise<void>;
}

export interface QueueStatus {
  readonly state: 'starting' | 'listening' | 'failing';
  /** When the last message came that was worth a look. */
  readonly heardMs: number | undefined;
  /** Since the start, of all kinds. */
  readonly messages: number;
  readonly error: SecretsfsError | undefined;
}

export interface QueuePorts {
  open(): Promise<Queue>;
  readonly places: readonly ObjectPlace[];
  readonly timers: Timers;
  /** From 0 up to 1. */
  readonly random: () => number;
  readonly nowMs: () => number;
  /** An upload may have been heard of. */
  hint(): void;
  status(status: QueueStatus): void;
  bug(error: unknown): void;
}

/** The first wait after a failure, at the most; it doubles up to the last. */
const BACKOFF_MS_MIN = 2_000;
const BACKOFF_MS_MAX = 5 * 60_000;
/** A queue that waits for nothing, or is never empty, must not be asked in a circle. */
const ROUND_MS_MIN = 1_000;

export function listenToQueue(ports: QueuePorts): Watch {
  const abort = new AbortController();
  const { signal } = abort;
  let queue: Queue | undefined;
  let status: QueueStatus = { state: 'starting', heardMs: undefined, messages: 0, error: undefined };
  let wake: () => void = () => undefined;
  let failures = 0;

  const say = (next: Partial<QueueStatus>) => {
    status = { ...status, ...next };
    if (!signal.aborted) ports.status(status);
  };
  const pause = (delayMs: number) =>
    new Promise<void>((resolve) => {
      const timer = ports.timers.set(resolve, delayMs);
      wake = () => {
        ports.timers.clear(timer);
        resolve();
      };
      if (signal.aborted) wake();
    });

  const take = async (open: Queue) => {
    const startedMs = ports.nowMs();
    const messages = await open.receive(signal, status.state !== 'listening');
    if (status.state !== 'listening') {
      say({ state: 'listening', error: undefined });
      ports.hint();
    }
    if (messages.length > 0) {
      const isHint = messages.some(({ body }) => messageConcerns(body, ports.places) !== 'other');
      if (isHint) ports.hint();
      say({ messages: status.messages + messages.length, ...(isHint ? { heardMs: ports.nowMs() } : {}) });
      await open.remove(messages);
    }
    failures = 0;
    const restMs = ROUND_MS_MIN - (ports.nowMs() - startedMs);
    if (restMs > 0) await pause(restMs);
  };

  const listen = async () => {
    while (!signal.aborted) {
      try {
        queue ??= await ports.open();
        if (!signal.aborted) await take(queue);
      } catch (error) {
        if (signal.aborted) break;
        if (!(error instanceof SecretsfsError)) ports.bug(error);
        const known = error instanceof SecretsfsError ? error : undefined;
        say({ state: 'failing', error: known });
        const ceilingMs = Math.min(BACKOFF_MS_MIN * 2 ** Math.min(failures++, 30), BACKOFF_MS_MAX);
        await pause(Math.round(ceilingMs * ports.random()));
      }
    }
    await queue?.close();
  };
  say({});
  const listening = listen();
  return {
    async close() {
      abort.abort();
      wake();
      await listening;
    },
  };
}
