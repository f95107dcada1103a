/**
 * Whose cached pages are to be dropped, told to the notifier through a pipe: nodeids, u64 each. The server may not do it
 * itself: the kernel may wait for an answer of the server before it lets go of a page.
 *
 * Nothing here waits. What does not fit into the pipe is kept, each nodeid once, and tried again.
 */
import { constants } from 'node:os';

const { EAGAIN, EINTR } = constants.errno;
const NODEID_BYTES = 8;
/** PIPE_BUF: a write of this much is whole or not at all. */
const BATCH = 4096 / NODEID_BYTES;
/** More than a bundle has files by default. */
const PENDING_MAX = 65_536;

const PAUSE = 64;

/** Bytes written, or a negative errno; -EAGAIN where there is no room. Up to PIPE_BUF bytes are written whole. */
export type WritePages = (buffer: Uint8Array, bytes: number) => number;

export class PagesPipe {
  readonly #write: WritePages;
  readonly #buffer = Buffer.alloc(BATCH * NODEID_BYTES);
  readonly #waiting = new Set<number>();
  /** Requests to pass over before the pipe is tried again. */
  #pause = 0;

  constructor(write: WritePages) {
    this.#write = write;
  }

  get pending(): boolean {
    return this.#waiting.size > 0;
  }

  drop(nodeid: number): void {
    // More are given up: nobody has read the pipe for long.
    if (this.#waiting.size < PENDING_MAX) this.#waiting.add(nodeid);
  }

  /** `force`: also where it was full a moment ago. */
  flush(force: boolean): void {
    if (!force && this.#pause > 0) {
      this.#pause--;
      return;
    }
    while (this.#waiting.size > 0) {
      let count = 0;
      for (const nodeid of this.#waiting) {
        if (count === BATCH) break;
        this.#buffer.writeUInt32LE(nodeid % 2 ** 32, count * NODEID_BYTES);
        this.#buffer.writeUInt32LE(Math.floor(nodeid / 2 ** 32), count * NODEID_BYTES + 4);
        count++;
      }
      const written = this.#write(this.#buffer, count * NODEID_BYTES);
      if (written === -EINTR) continue;
      // Nobody reads: without a notifier there is nothing to tell. It comes back with a new server.
      if (written < 0 && written !== -EAGAIN) this.#waiting.clear();
      if (written < 0) {
        this.#pause = PAUSE;
        return;
      }
      let left = written / NODEID_BYTES;
      for (const nodeid of this.#waiting) {
        if (left-- <= 0) break;
        this.#waiting.delete(nodeid);
      }
    }
  }
}
