/**
 * What a hook's program says → lines fit for a log: bounded in number and length, nothing in them that a terminal obeys.
 * Bytes that are no UTF-8 become U+FFFD.
 */
import { Buffer } from 'node:buffer';
import { escapeInvisible } from '../errors.ts';

export const LINES_MAX = 100;
export const LINE_LENGTH_MAX = 500;

export class OutputLines {
  readonly #decoder = new TextDecoder();
  readonly #onLine: (line: string) => void;
  #line = '';
  #isCut = false;
  #lines = 0;
  #dropped = 0;

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  /** Lines that were not passed on. */
  get dropped(): number {
    return this.#dropped;
  }

  push(chunk: Uint8Array): void {
    this.#add(this.#decoder.decode(chunk, { stream: true }));
  }

  /** The last line may have no end. */
  end(): void {
    this.#add(this.#decoder.decode());
    if (this.#line !== '') this.#say();
  }

  #add(text: string): void {
    let from = 0;
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', from)) {
      this.#extend(text.slice(from, at));
      this.#say();
      from = at + 1;
    }
    this.#extend(text.slice(from));
  }

  #extend(text: string): void {
    const room = LINE_LENGTH_MAX - this.#line.length;
    if (text.length > room) this.#isCut = true;
    // A copy: a slice would keep all of the chunk.
    if (room > 0 && this.#lines < LINES_MAX) this.#line += Buffer.from(text.slice(0, room)).toString();
  }

  #say(): void {
    this.#lines += 1;
    if (this.#lines > LINES_MAX) this.#dropped += 1;
    else this.#onLine(escapeInvisible(this.#line).trimEnd() + (this.#isCut ? '…' : ''));
    this.#line = '';
    this.#isCut = false;
  }
}
