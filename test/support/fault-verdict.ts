/**
 * Runs schedules of faults and rotations against a mount, and says whether it did right: exactly one complete, authentic
 * generation at every moment, never an older one than before, a status that is true, and the newest one once faults end.
 * What it finds wrong it throws, with the schedule; test/support/broken-mount.ts shows that it finds it.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Status } from '../../src/control/protocol.ts';
import { type Step, scheduleOf } from './fault-schedule.ts';
import { eventually } from './program.ts';

type Upload = Extract<Step, { do: 'upload' }>['what'];
export type FaultStep = Extract<Step, { do: 'fault' }>;
export type Said = Pick<Status, 'state' | 'error' | 'nextAttempt'> & { readonly serial: number | undefined };

/** A mount whose bundle comes through faults. */
export interface FaultSubject {
  /** The highest serial that may be served: of the last good upload. */
  newest(): number;
  upload(what: Upload): Promise<void>;
  addFault(step: FaultStep): void;
  endFaults(): void;
  /** One of NAMES, in the mount. */
  read(name: string): Promise<string>;
  said(): Promise<Said>;
}

/** The files of each bundle. */
export const NAMES = ['certificate', 'key'] as const;

export function contentOf(name: string, serial: number): string {
  return `${name} ${serial}\n`.repeat(200);
}

/** Whether what is uploaded last is to be refused. */
export function endsBadly(steps: readonly Step[]): boolean {
  const last = steps.filter((step) => step.do === 'upload').at(-1);
  return last?.do === 'upload' && last.what !== 'good';
}

export class Judge {
  readonly #subject: FaultSubject;
  readonly #recoveryMs: number;
  #seen = 0;

  /** Back-off may have grown, and a stalled request takes its time: `recoveryMs` after faults ended all must be well. */
  constructor(subject: FaultSubject, recoveryMs: number) {
    this.#subject = subject;
    this.#recoveryMs = recoveryMs;
  }

  async schedule(seed: number): Promise<void> {
    const steps = scheduleOf(seed);
    try {
      for (const step of steps) {
        if (step.do === 'pause') await sleep(step.ms);
        else if (step.do === 'upload') await this.#subject.upload(step.what);
        else this.#subject.addFault(step);
        await this.#look();
      }
      this.#subject.endFaults();
      await this.#recovered(steps);
    } catch (cause) {
      throw new Error(`schedule ${seed}: ${JSON.stringify(steps)}: ${(cause as Error).message}`, { cause });
    }
  }

  /** The serial that is served, of which every byte is. */
  async #served(name: string): Promise<number> {
    const content = await this.#subject.read(name);
    const found = Number(/^\w+ (\d+)\n/.exec(content)?.[1]);
    assert.ok(
      content === contentOf(name, found),
      `${name} is not of one generation: ${content.slice(0, 40)}`,
    );
    assert.ok(found >= this.#seen, `${name} is of ${found}, and ${this.#seen} was served before`);
    assert.ok(found <= this.#subject.newest(), `${name} is of ${found}, which is no good upload`);
    this.#seen = found;
    return found;
  }

  async #look(): Promise<void> {
    const before = await this.#served('certificate');
    const { serial, state, error } = await this.#subject.said();
    const after = await this.#served('key');
    // A certificate that stays behind its key is older than what was served.
    await this.#served('certificate');
    assert.ok(
      serial !== undefined && serial >= before && serial <= after,
      `status says ${serial}, served were ${before} and ${after}`,
    );
    assert.ok((state === 'failing') === (error !== null), `status says ${state}, with ${error?.code}`);
  }

  async #recovered(steps: readonly Step[]): Promise<void> {
    if (endsBadly(steps)) {
      // Refused, and said so, until a good one comes.
      await eventually(async () => {
        const { state, error, nextAttempt } = await this.#subject.said();
        assert.deepEqual([state, error === null, nextAttempt], ['failing', false, null]);
      }, this.#recoveryMs);
      await this.#subject.upload('good');
    }
    const newest = this.#subject.newest();
    await eventually(async () => {
      const { serial, state, error } = await this.#subject.said();
      assert.deepEqual([serial, state, error], [newest, 'live', null]);
    }, this.#recoveryMs);
    for (const name of NAMES) {
      const found = await this.#served(name);
      assert.ok(found === newest, `${name} is of ${found}, and ${newest} is the newest`);
    }
  }
}
