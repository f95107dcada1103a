/**
 * What the server says on stderr: lines as the daemon's log writes them (log.ts), without loading a logger for the few
 * that there ever are. Never a name, a path or a byte of a file.
 */
import { writeSync } from 'node:fs';
import type { LoopLog } from '../fuse/kernel/loop.ts';
import type { SessionLog } from '../fuse/kernel/session.ts';
import type { Refusal } from '../store/shared.ts';

const LEVEL = { info: 30, warn: 40, error: 50 } as const;
const STDERR = 2;

export type ServerEvent =
  | 'malformed-request'
  | 'unknown-request'
  | 'reply-refused'
  | 'generation-unreadable'
  | 'server-started'
  | 'bug';

export class ServerLog implements SessionLog, LoopLog {
  readonly #write: (line: string) => void;

  constructor(write: (line: string) => void = writeLine) {
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

/** A log that nobody reads any more must not end the serving. */
function writeLine(line: string): void {
  try {
    writeSync(STDERR, line);
  } catch {
    // There is nowhere left to say it.
  }
}
