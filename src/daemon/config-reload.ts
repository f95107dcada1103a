/**
 * A config that changes while its mount runs: read and checked whole, then applied as far as that can be done without a
 * restart; what can't is named. What is wrong leaves everything as it is, is said when it begins or changes, and stands in
 * the status until the config is right again.
 *
 * Invariant: what runs is `running`; all live settings of a config are applied, or none.
 */
import type { Status } from '../control/protocol.ts';
import { describeBug, SecretsfsError } from '../errors.ts';
import type { Settings } from './config.ts';
import { iso } from './describe.ts';
import { errorFields, type Log } from './log.ts';
import { type ConfigKey, partition } from './reload-policy.ts';
import type { SupervisorOptions } from './supervisor-options.ts';

/** What a mount was told by a config file, and how it is told again. */
export interface ConfigSource {
  /** Absolute. */
  readonly path: string;
  /** Of the file that `settings` are from: identify(). */
  readonly identity: string;
  /** Of all layers, as the mount was started with. */
  readonly settings: Settings;
  /** Which file it is and who may change it, as text. Rejects with ConfigError where it can't be looked at. */
  identify(): Promise<string>;
  /** The settings of all layers, with the file as it is now. Throws SecretsfsError; what others than root may change is not read. */
  read(): Settings;
  /** What a mount of these settings is told. Throws SecretsfsError for what no mount would start with. */
  options(settings: Settings): Promise<SupervisorOptions>;
}

export interface ConfigReloadPorts {
  readonly source: ConfigSource;
  readonly running: SupervisorOptions;
  /** Goes over to these options. Throws SecretsfsError, and everything is as it was. */
  apply(options: SupervisorOptions): Promise<void>;
  readonly log: Log;
  readonly nowMs: () => number;
}

export class ConfigReload {
  readonly #ports: ConfigReloadPorts;
  #settings: Settings;
  #options: SupervisorOptions;
  #loadedMs: number;
  #error: SecretsfsError | undefined;
  #restartNeeded: readonly string[] = [];

  constructor(ports: ConfigReloadPorts) {
    this.#ports = ports;
    this.#settings = ports.source.settings;
    this.#options = ports.running;
    this.#loadedMs = ports.nowMs();
  }

  /** Whether the last one could not be used. */
  get isRefused(): boolean {
    return this.#error !== undefined;
  }

  /** The file may be another one. Never rejects. Not to be called again before it has settled. */
  async check(): Promise<void> {
    const { log } = this.#ports;
    try {
      await this.#check();
    } catch (error) {
      if (!(error instanceof SecretsfsError)) {
        log.error('bug', { error: describeBug(error) });
        return;
      }
      const isKnown = this.#error?.code === error.code && this.#error.message === error.message;
      this.#error = error.code === 'config-unreadable' ? gone(error) : error;
      if (!isKnown) log.error('config-refused', errorFields(this.#error));
    }
  }

  status(): NonNullable<Status['config']> {
    const error = this.#error;
    const { code, message, hint } = error ?? {};
    return {
      path: this.#ports.source.path,
      loadedAt: iso(this.#loadedMs),
      state: error !== undefined ? 'refused' : this.#restartNeeded.length > 0 ? 'restart-needed' : 'current',
      error:
        code === undefined || message === undefined
          ? null
          : { code, message, ...(hint === undefined ? {} : { hint }) },
      restartNeeded: [...this.#restartNeeded],
    };
  }

  async #check(): Promise<void> {
    const { source, log, nowMs, apply } = this.#ports;
    await source.identify();
    const wanted = source.read();
    const whole = await source.options(wanted);
    const { live, restart, settings, options } = await this.#usable(wanted);
    const restartNeeded = [...restart];
    // Where neither is set it follows from the bundle's name, and the sockets are where they are.
    if (whole.instance !== this.#options.instance && !restartNeeded.includes('instance'))
      restartNeeded.push('instance');
    if (live.length > 0) await apply(options);
    const wasWrong = this.#error !== undefined || this.#restartNeeded.length > restartNeeded.length;
    const isNew = restartNeeded.join() !== this.#restartNeeded.join();
    this.#settings = settings;
    this.#options = options;
    this.#error = undefined;
    this.#restartNeeded = restartNeeded;
    if (live.length > 0) this.#loadedMs = nowMs();
    if (live.length > 0 || wasWrong) log.info('config-applied', { settings: live });
    if (restartNeeded.length > 0 && (isNew || wasWrong))
      log.warn('config-restart-needed', { settings: restartNeeded });
  }

  /** Where the live ones do not go with what only a restart changes, all of them wait for it. */
  async #usable(wanted: Settings): Promise<{
    readonly live: readonly ConfigKey[];
    readonly restart: readonly ConfigKey[];
    readonly settings: Settings;
    readonly options: SupervisorOptions;
  }> {
    const { live, restart, effective } = partition(this.#settings, wanted);
    const kept = { settings: this.#settings, options: this.#options };
    if (live.length === 0) return { live, restart, ...kept };
    try {
      const { instance, driverReason, parts } = this.#options;
      // Of several bundles also what follows from the machine, as the numbers of users.
      const theirs = effective.mounts === undefined ? {} : { parts };
      const options = {
        ...(await this.#ports.source.options(effective)),
        ...{ instance, driverReason, ...theirs },
      };
      return { live, restart, settings: effective, options };
    } catch (error) {
      if (!(error instanceof SecretsfsError) || restart.length === 0) throw error;
      return { live: [], restart: [...live, ...restart], ...kept };
    }
  }
}

/** It was there when the mount was started. */
function gone({ code, message, cause }: SecretsfsError): SecretsfsError {
  const hint = 'put it back, a file that root may read: until then the settings of before are in force';
  return new SecretsfsError(code, message, { hint, cause });
}
