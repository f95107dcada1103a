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
/** Who reads the log takes lines of 2,000 bytes, and a character may take six of them. Of a longer path, both ends are said. */
const PATH_LENGTH_MAX = 200;
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

  /** Whether it was said. */
  open(what: 'file-opened' | 'open-refused', { path, unit = '', suppressed, ...event }: OpenEvent): boolean {
    const fits = this.say(what === 'file-opened' ? 'info' : 'warn', what, {
      ...shown(path),
      unit,
      ...event,
      ...(this.#lost === 0 ? {} : { lost: this.#lost }),
      ...(suppressed === 0 ? {} : { suppressed }),
    });
    this.#lost = fits ? 0 : this.#lost + 1;
    return fits;
  }
}

/** Two that are cut to the same text differ in their digests: of the whole path, as sha256sum has it. */
function shown(path: string): { readonly path: string; readonly pathSha256?: string } {
  if (path.length <= PATH_LENGTH_MAX) return { path };
  const half = PATH_LENGTH_MAX / 2;
  // Not imported: it is 0.7 MB of memory, in every server and successor.
  const pathSha256 = process.getBuiltinModule('node:crypto').createHash('sha256').update(path).digest('hex');
  return { path: `${path.slice(0, half)}…${path.slice(-half)}`, pathSha256 };
}
