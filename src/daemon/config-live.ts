/** The config of a running mount: its watch, what is read again, and that what was refused is tried again. */
import path from 'node:path';
import type { Status } from '../control/protocol.ts';
import { realTimers } from '../system/timers.ts';
import { ConfigReload, type ConfigReloadPorts } from './config-reload.ts';
import { ConfigWatch, watchDirectory } from './config-watch.ts';

/** What was refused may be right without a change of the file: a user or a program that is there by then. */
const RETRY_MS = 60_000;

export class ConfigLive {
  readonly #reload: ConfigReload;
  readonly #watch: ConfigWatch;
  #timer: NodeJS.Timeout | undefined;

  constructor(ports: ConfigReloadPorts) {
    const { source } = ports;
    const reload = new ConfigReload(ports);
    this.#reload = reload;
    this.#watch = new ConfigWatch(source.identity, {
      identify: () => source.identify().catch((error: Error) => error.message),
      onChange: async () => {
        await reload.check();
        clearTimeout(this.#timer);
        if (reload.isRefused) this.#timer = setTimeout(() => void this.lookNow(), RETRY_MS).unref();
      },
      timers: realTimers,
      watchDirectory: (onEvent) => watchDirectory(path.dirname(source.path), onEvent),
    });
  }

  /** Resolves when the config is taken over as it is now, or refused. */
  lookNow(): Promise<void> {
    return this.#watch.lookNow();
  }

  status(): NonNullable<Status['config']> {
    return this.#reload.status();
  }

  /** Resolves when nothing of it runs. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#watch.close();
    clearTimeout(this.#timer);
  }
}
