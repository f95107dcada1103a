/**
 * What is asked of the disk that a mount keeps its serials on: one thing at a time, of all its bundles. A call that hangs can't
 * be ended, and holds one of libuv's four threads: so there is never more than one.
 */
import { givenUp } from '../system/file-lane.ts';

/** A disk that takes longer hangs, as that of a dead NFS server does. */
const ANSWER_MS_MAX = 5_000;
export const NO_ANSWER = `its disk gave no answer within ${ANSWER_MS_MAX / 1000} s`;

export class FloorDisk {
  #last: Promise<void> = Promise.resolve();
  /** That took too long and did not end yet. */
  #late = 0;

  /** Nothing that is asked of it now would be answered. */
  get hangs(): boolean {
    return this.#late > 0;
  }

  /**
   * Does it after what was asked before, and throws what it throws. Returns false where there is no answer in time: it goes on
   * by itself.
   */
  async inTime(act: () => Promise<void>): Promise<boolean> {
    const done = this.#last.then(act);
    const settled = done.catch(() => undefined);
    this.#last = settled;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(resolve, ANSWER_MS_MAX, 'late');
    });
    try {
      if ((await Promise.race([done, late])) !== 'late') return true;
    } finally {
      clearTimeout(timer);
    }
    this.#late += 1;
    givenUp(done);
    void settled.then(() => {
      this.#late -= 1;
    });
    return false;
  }
}
