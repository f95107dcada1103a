/**
 * Notices that a config, or what leads to it, is not what it was: by inotify on its directory, and by a look every two
 * seconds, which is all there is for a directory that was replaced, for a symlink's target elsewhere and for modes above it.
 * A change counts once the file was left alone for a while: it may be being written.
 *
 * Invariant: what is found is told once, until it changes again; a file system that does not answer holds up nobody but this.
 */
import { type FSWatcher, watch } from 'node:fs';
import type { Timers } from '../system/timers.ts';

const LOOK_EVERY_MS = 2_000;
/** Whoever writes a page of text pauses less than this before it is whole. */
const SETTLE_MS = 500;
/** Many events are one look. */
const EVENT_MS = 50;

export interface ConfigWatchPorts {
  /** What the file is and who may change it, as text: the same for the same. Never rejects. */
  identify(): Promise<string>;
  /** It is another one than when this was last called, or than it was first. Never rejects. */
  onChange(): Promise<void>;
  readonly timers: Timers;
  /** Calls back for anything that happens in the file's directory. undefined: nothing can be had but looks. */
  readonly watchDirectory: (onEvent: () => void) => { close(): void } | undefined;
}

export class ConfigWatch {
  readonly #ports: ConfigWatchPorts;
  readonly #events: { close(): void } | undefined;
  #told: string;
  /** Another one than was told, which may still be written. */
  #unsettled: string | undefined;
  #timer: unknown;
  /** Something happened in the directory, and the look at it is set. */
  #prompted = false;
  #looking: Promise<void> = Promise.resolve();
  #closed = false;

  /** `identity`: of the file that was read. */
  constructor(identity: string, ports: ConfigWatchPorts) {
    this.#ports = ports;
    this.#told = identity;
    this.#events = ports.watchDirectory(() => this.#prompt());
    this.#lookIn(0);
  }

  /** Tells of the file as it is now, changed or not. Resolves when that is dealt with. */
  lookNow(): Promise<void> {
    return this.#look(true);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#events?.close();
    this.#ports.timers.clear(this.#timer);
    await this.#looking;
  }

  /** What is being written is looked at soon anyway; a directory in which there is always something going on puts off no look. */
  #prompt(): void {
    if (this.#prompted || this.#unsettled !== undefined) return;
    this.#prompted = true;
    this.#lookIn(EVENT_MS);
  }

  #lookIn(delayMs: number): void {
    const { timers } = this.#ports;
    timers.clear(this.#timer);
    if (!this.#closed) this.#timer = timers.set(() => void this.#look(false), delayMs);
  }

  #look(now: boolean): Promise<void> {
    const look = this.#looking.then(() => this.#lookOnce(now));
    this.#looking = look;
    return look;
  }

  async #lookOnce(now: boolean): Promise<void> {
    if (this.#closed) return;
    const { identify, onChange } = this.#ports;
    this.#prompted = false;
    const seen = await identify();
    const isSettled = seen === this.#unsettled;
    this.#unsettled = seen === this.#told ? undefined : seen;
    if (now || (isSettled && seen !== this.#told)) {
      this.#told = seen;
      this.#unsettled = undefined;
      await onChange();
    }
    this.#lookIn(this.#unsettled === undefined ? LOOK_EVERY_MS : SETTLE_MS);
  }
}

/** For ConfigWatchPorts. Where inotify has no room, or there is no directory, looks must do. */
export function watchDirectory(directory: string, onEvent: () => void): { close(): void } | undefined {
  let watcher: FSWatcher;
  try {
    watcher = watch(directory, { persistent: false }, onEvent);
  } catch {
    return undefined;
  }
  watcher.on('error', () => watcher.close());
  return watcher;
}
