/**
 * What the server says on stderr: lines as the daemon's log writes them (log.ts), without loading a logger for the few
 * that there ever are. Never a name, a path or a byte of a file.
 */
import type { LoopLog } from '../fuse/kernel/loop.ts';
import type { SessionLog } from '../fuse/kernel/session.ts';
import type { Refusal } from '../store/shared.ts';
import { writeToLog } from './child.ts';
import type { ServerEvent } from './log.ts';

const LEVEL = { warn: 40, error: 50 } as const;

export class ServerLog implements SessionLog, LoopLog {
  readonly #write: (line: string) => void;

  constructor(write: (line: string) => void = writeToLog) {
    this.#write = write;
  }

  say(level: keyof typeof LEVEL, event: ServerEvent, fields: Record<string, unknown> = {}): void {
    const time = new Date().toISOString();
    this.#write(`${JSON.stringify({ level: LEVEL[level], time, process: 'server', ...fields, event })}\n`);
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
}
