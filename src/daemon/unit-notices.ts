/** What systemd is told of a mount, where there is one (sd_notify(3)); that it can't be is in the log, and no reason to fail. */
import { notify } from '../system/notify.ts';
import type { Log } from './log.ts';
import { extendStart } from './start-notices.ts';

export class UnitNotices {
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  /** A start goes on, however long it takes, until close(). */
  starting(): { close(): void } {
    return extendStart((state) => this.#notify(state));
  }

  /** In the status line. */
  waits(what: string): void {
    this.#notify(`STATUS=waits: ${what}`);
  }

  ready(serial: number | undefined, mountpoint: string): void {
    this.#notify(`READY=1\nSTATUS=serial ${serial} at ${mountpoint}`);
  }

  /** Another bundle went live. */
  serves(serial: number, mountpoint: string): void {
    this.#notify(`STATUS=serial ${serial} at ${mountpoint}`);
  }

  /** The mount has answered: what the watchdog waits for, where the unit has one. */
  alive(): void {
    if (process.env['WATCHDOG_USEC'] !== undefined) this.#notify('WATCHDOG=1');
  }

  stopping(): void {
    this.#notify('STOPPING=1');
  }

  #notify(state: string): void {
    notify(state).catch((error: Error) => this.#log.warn('notify-failed', { error: error.message }));
  }
}
