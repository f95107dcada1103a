/**
 * What the server says on stderr: lines as the daemon's log writes them (log.ts), without loading a logger for the few
 * that there ever are. Never a byte of a file, and a path only where it is said who opened it.
 */
import type { LoopLog } from '../fuse/kernel/loop.ts';
import type { SessionLog } from '../fuse/kernel/session.ts';
import type { OpenEvent } from '../opens/guard.ts';
import type { Refusal } from '../store/shared.ts';
import { growPipe } from '../system/device.ts';
import { writeToLog } from './child.ts';
import type { ServerEvent } from './log.ts';

const STDERR = 2;
/** Who reads the log takes lines of 2,000 bytes, and a character may take six of them. */
const PATH_LENGTH_MAX = 250;
/** As much as one that is not root may have: /proc/sys/fs/pipe-max-size. */
const PIPE_BYTES = 1024 * 1024;
const LEVEL = { info: 30, warn: 40, error: 50 } as const;

export class ServerLog implements SessionLog, LoopLog {
  readonly #write: (line: string) => boolean;
  /** Of the lines about opens, those that did not fit since the last that did. */
  #lost = 0;

  constructor(write: (line: string) => boolean = writeToLog) {
    this.#write = write;
  }

  say(level: keyof typeof LEVEL, event: ServerEvent, fields: Record<string, unknown> = {}): boolean {
    const time = new Date().toISOString();
    return this.#write(
      `${JSON.stringify({ level: LEVEL[level], time, process: 'server', ...fields, event })}\n`,
    );
  }

  malformed(opcode: number, bytes: number, count: number): void {
    this.say('warn', 'malformed-request', { opcode, bytes, count });
  }

  unknown(opcode: number, count: number): void {
    this.say('warn', 'unknown-request', { opcode, count });
  }

  bug(description: string, count: number): void {
    this.say('error', 'bug', { error: description, count });
  }

  replyRefused(errno: number, opcode: number): void {
    this.say('error', 'reply-refused', { errno, opcode });
  }

  generationRefused(id: number, why: Refusal): void {
    this.say('error', 'generation-unreadable', { generation: id, why });
  }

  /** Its pipe is to hold thousands of lines. */
  expectMuch(): void {
    growPipe(STDERR, PIPE_BYTES);
  }

  open(what: 'file-opened' | 'open-refused', { path, unit = '', ...event }: OpenEvent): void {
    const shown = path.length > PATH_LENGTH_MAX ? `…${path.slice(1 - PATH_LENGTH_MAX)}` : path;
    const lost = this.#lost === 0 ? {} : { lost: this.#lost };
    const fits = this.say(what === 'file-opened' ? 'info' : 'warn', what, {
      path: shown,
      unit,
      ...event,
      ...lost,
    });
    this.#lost = fits ? 0 : this.#lost + 1;
  }
}
