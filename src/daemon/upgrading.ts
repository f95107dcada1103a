/** Every process of a mount but the supervisor's, replaced by the program that is on disk now: once at a time, whoever asks. */
import { MountError, SecretsfsError } from '../errors.ts';
import type { Engine } from './engine.ts';
import { errorFields, type Log } from './log.ts';
import { checkScripts } from './scripts.ts';

export interface UpgradingPorts {
  /** undefined: nothing is mounted yet. */
  engine(): Pick<Engine, 'upgrade'> | undefined;
  restartAgent(): void;
  readonly log: Log;
}

export class Upgrading {
  readonly #ports: UpgradingPorts;
  #running: Promise<readonly string[]> | undefined;

  constructor(ports: UpgradingPorts) {
    this.#ports = ports;
  }

  /** Returns the roles of what was replaced. Who asks meanwhile gets the same answer. Throws MountError upgrade-refused. */
  run(): Promise<readonly string[]> {
    this.#running ??= this.#replace().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** The same for who waits for no answer: where that can't serve, it is in the log, and everything goes on as it was. */
  async runLogged(): Promise<void> {
    await this.run().catch((error: unknown) => {
      if (!(error instanceof SecretsfsError)) throw error;
      this.#ports.log.error('upgrade-failed', errorFields(error));
    });
  }

  async #replace(): Promise<readonly string[]> {
    const { restartAgent, log } = this.#ports;
    const engine = this.#ports.engine();
    if (engine === undefined)
      throw new MountError('upgrade-refused', 'cannot upgrade: nothing is mounted yet', {
        hint: 'secretsfs wait, then again',
      });
    checkScripts();
    await engine.upgrade();
    // It carries the answer to whoever asked for this.
    setImmediate(restartAgent);
    log.info('upgraded');
    return ['server', 'successor', 'prober', 'teller', 'notifier', 'agent'];
  }
}
