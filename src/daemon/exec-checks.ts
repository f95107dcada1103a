/**
 * `checks.exec`: which programs look at a generation before it goes live (trial.ts: how). Programs and users are looked at
 * when the mount starts and, because that may change, before each trial.
 */

import type { ExecCheck } from '../checks/exec-settings.ts';
import { compileGlob, type Glob } from '../checks/glob.ts';
import { ConfigError, MountError } from '../errors.ts';
import { account } from '../system/users.ts';
import type { Proposed } from './engine-ports.ts';
import { type TrialCheck, type TrialOptions, type TrialPorts, tryCandidate } from './trial.ts';
import { checkCommand } from './trusted-command.ts';

interface Check extends TrialCheck {
  /** None: it always runs. */
  readonly match: readonly Glob[] | undefined;
}

export class ExecChecks {
  readonly #checks: readonly Check[];
  readonly #options: TrialOptions;
  readonly #ports: TrialPorts;
  readonly #abort = new AbortController();

  private constructor(checks: readonly Check[], options: TrialOptions, ports: TrialPorts) {
    this.#checks = checks;
    this.#options = options;
    this.#ports = ports;
  }

  /** Throws ConfigError config-invalid and config-untrusted: a program or a user that is not there, or not root's. */
  static async create(
    settings: readonly ExecCheck[],
    options: TrialOptions,
    ports: TrialPorts,
  ): Promise<ExecChecks> {
    const checks: Check[] = [];
    for (const { name, run, match, timeout, user: named } of settings) {
      const user = await account(named ?? 'root');
      checkCommand({ argv: run, user }, options.mountpoint);
      const globs = match?.map((pattern) => compileGlob(pattern));
      checks.push({ name, run, timeout, match: globs, user });
    }
    return new ExecChecks(checks, options, ports);
  }

  /** The engine's port. Throws MountError, as tryCandidate(), and check-exec for a program that is not root's any more. */
  readonly prove = async ({ id, imageFd, isFirst, files }: Proposed): Promise<void> => {
    const checks = this.#checks.filter(({ match }) => {
      if (match === undefined || isFirst) return true;
      return files.some(({ path }) => match.some((glob) => glob.match(path) !== undefined));
    });
    if (checks.length === 0) return;
    for (const check of checks) this.#checkCommand(check);
    await tryCandidate({ id, imageFd }, checks, this.#options, this.#ports, this.#abort.signal);
  };

  /** Ends a trial that is under way, and lets none begin. */
  stop(): void {
    this.#abort.abort();
  }

  #checkCommand({ run, user }: Check): void {
    try {
      checkCommand({ argv: run, user }, this.#options.mountpoint);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      throw new MountError('check-exec', error.message, { hint: error.hint, cause: error });
    }
  }
}
