/**
 * What came of looking for a bundle: the last time, and the failure that lasts. A failure is logged when it begins, changes or
 * ends, not each time.
 */
import type { ErrorCode, SecretsfsError } from '../errors.ts';
import { errorFields, type Log } from './log.ts';
import type { RotationPorts, RotationState } from './rotation-ports.ts';

export interface RefreshRecordPorts extends Pick<RotationPorts<unknown>, 'nowMs' | 'checked'> {
  readonly log: Log;
}

export class RefreshRecord {
  readonly #ports: RefreshRecordPorts;
  #lastCheck: RotationState<unknown>['lastCheck'];
  #failure: RotationState<unknown>['failure'];

  constructor(ports: RefreshRecordPorts) {
    this.#ports = ports;
  }

  get lastCheck(): RotationState<unknown>['lastCheck'] {
    return this.#lastCheck;
  }

  get failure(): RotationState<unknown>['failure'] {
    return this.#failure;
  }

  /** It was found that the newest is live, or it was made so. */
  succeeded(outcome: 'activated' | 'unchanged'): void {
    this.#checked(outcome);
    if (this.#failure !== undefined)
      this.#ports.log.info('refresh-recovered', { code: this.#failure.error.code });
    this.#failure = undefined;
  }

  /**
   * One state is one code of one revision: a message may hold numbers that change with each attempt. `isTold`: whoever asked
   * tells it.
   */
  failed(error: SecretsfsError, revision: string | undefined, isTold: boolean): void {
    const { nowMs, log } = this.#ports;
    this.#checked('failed', error.code);
    const before = this.#failure;
    if (before !== undefined && before.error.code === error.code && before.revision === revision) {
      this.#failure = { ...before, error, attempts: before.attempts + 1 };
      return;
    }
    this.#failure = { error, revision, sinceMs: nowMs(), attempts: 1 };
    if (!isTold) log.error('refresh-failed', errorFields(error));
  }

  #checked(outcome: 'activated' | 'unchanged' | 'failed', code?: ErrorCode): void {
    const { nowMs, checked } = this.#ports;
    this.#lastCheck = { atMs: nowMs(), outcome };
    checked?.(outcome, code);
  }
}
