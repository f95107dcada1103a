/**
 * The request loop: read, handle, write, wipe, for ever, on the one thread there is. A hop over the event loop or a
 * thread pool would cost more than the whole request.
 *
 * After a reply the next request is often a few microseconds away, and to sleep in between costs five times that: the
 * wake-up crosses CPUs. So the loop looks again for a while, giving way to whoever shares its CPU, before it sleeps.
 * Where looking was in vain it looks less and less often, up to never but once in SPIN_PAUSE_MAX replies.
 */
import { constants } from 'node:os';
import type { Latencies } from './latencies.ts';
import type { Session } from './session.ts';

const { EAGAIN, ECONNABORTED, EINTR, EIO, ENODEV, ENOENT } = constants.errno;

/** /dev/fuse, or what stands for it: calls that answer what they did, or a negative errno. None throws. */
export interface Device {
  /** One request into the session's request buffer: its bytes. -EAGAIN, at once, where there is none. */
  read(): number;
  /** So many bytes of the session's reply buffer. */
  write(bytes: number): number;
  /** Returns when read() may have something, or when the time is over. -1: never over. */
  wait(timeoutMs: number): void;
  /** Lets others use this CPU. */
  giveWay(): void;
}

/** What is left to be said to the notifier. */
export interface Pending {
  readonly pending: boolean;
  /** Never waits. Without `force` it may put it off, for a few requests. */
  flush(force: boolean): void;
}

export interface LoopOptions {
  readonly session: Pick<Session, 'handle' | 'refuse' | 'wipe' | 'opcode'>;
  readonly device: Device;
  readonly pages: Pending;
  readonly latencies: Pick<Latencies, 'isDue' | 'record'>;
  /** Asked after each answer: has another server been told to go on? */
  readonly handOver: () => boolean;
  readonly nowMs: () => number;
  readonly log: LoopLog;
}

export interface LoopLog {
  /** The kernel did not take a reply: a bug of ours. The request was answered EIO instead. */
  replyRefused(errno: number, opcode: number): void;
}

export type LoopEnd = 'unmounted' | 'handed-over';

/** How long to look. Twice what a busy reader takes from one request to the next where it has a CPU for itself. */
const SPIN_MS = 0.05;
/** Replies in a row after which there is no looking, at the most. */
const SPIN_PAUSE_MAX = 256;
/** Errors in a row that no read of /dev/fuse is known for, before they are believed. */
const STRANGE_MAX = 8;
/** Until the notifier is tried again. */
const FLUSH_RETRY_MS = 10;

/** Ends when the filesystem is unmounted, or when handOver() says so. Throws only where the device can't be read. */
export function serve(options: LoopOptions): LoopEnd {
  const { session, device, pages, latencies, handOver, nowMs } = options;
  const spin = new Spin(device, nowMs);
  let answered = false;
  let strange = 0;
  for (;;) {
    const length = answered ? spin.next() : device.read();
    answered = false;
    if (length >= 0) {
      strange = 0;
      const isTimed = latencies.isDue();
      const begunMs = isTimed ? nowMs() : 0;
      const reply = session.handle(length);
      answered = reply > 0;
      const gone = answered && !answer(options, reply);
      if (isTimed) latencies.record(session.opcode, nowMs() - begunMs);
      session.wipe();
      if (pages.pending) pages.flush(false);
      if (gone) return 'unmounted';
      if (handOver()) return 'handed-over';
    } else if (length === -EAGAIN) {
      device.wait(pages.pending ? FLUSH_RETRY_MS : -1);
      if (pages.pending) pages.flush(true);
    } else if (length === -ENODEV || length === -ECONNABORTED) {
      return 'unmounted';
    } else if (length !== -EINTR && length !== -ENOENT && ++strange > STRANGE_MAX) {
      // ENOENT: the request was taken back while it was being copied.
      throw new Error(`reading requests failed with errno ${-length}`);
    }
  }
}

/**
 * Writes the reply that stands in the session's buffer; false if there is no kernel to take it. What the kernel does not
 * take is answered EIO: whoever waits must not wait for ever.
 */
export function answer(options: Pick<LoopOptions, 'session' | 'device' | 'log'>, bytes: number): boolean {
  const { session, device, log } = options;
  for (let left = bytes, refused = false; left > 0; ) {
    const result = device.write(left);
    if (result >= 0) return true;
    if (result === -ENODEV || result === -ECONNABORTED) return false;
    // ENOENT: the request was answered before, or nobody waits for it any more.
    if (result === -ENOENT || refused) return true;
    if (result === -EINTR || result === -EAGAIN) continue;
    log.replyRefused(-result, session.opcode);
    refused = true;
    left = session.refuse(EIO);
  }
  return true;
}

class Spin {
  readonly #device: Device;
  readonly #nowMs: () => number;
  /** Replies still to pass over, and how many it will be the next time. */
  #skip = 0;
  #pause = 0;

  constructor(device: Device, nowMs: () => number) {
    this.#device = device;
    this.#nowMs = nowMs;
  }

  /** The next request, as of Device.read(). */
  next(): number {
    const device = this.#device;
    let length = device.read();
    if (length !== -EAGAIN) return length;
    if (this.#skip > 0) {
      this.#skip--;
      return length;
    }
    const started = this.#nowMs();
    let spent = 0;
    while (length === -EAGAIN && spent < SPIN_MS) {
      device.giveWay();
      length = device.read();
      spent = this.#nowMs() - started;
    }
    // Giving way may have taken longer than sleeping would have: then others need this CPU.
    this.#pause = spent < SPIN_MS ? 0 : Math.min(SPIN_PAUSE_MAX, this.#pause * 2 + 1);
    this.#skip = this.#pause;
    return length;
  }
}
