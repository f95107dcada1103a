/**
 * What children say on their standard error, into the log of the supervisor: a pipe for each, read line by line. A child
 * may be subverted, so a line is foreign: cut, escaped, rate-limited, and always under the child's own role and pid.
 *
 * Invariants: no child can block the log, fill it faster than its role may (nor can one that takes its place: what may be
 * said is its role's), keep the supervisor reading, or write as somebody else; a child waits for nobody here (child.ts: what
 * does not fit into the pipe is lost).
 */
import type { Readable } from 'node:stream';
import { escapeInvisible } from '../errors.ts';
import { realTimers, type Timers } from '../system/timers.ts';
import type { Log, ServerEvent } from './log.ts';
import type { Role } from './roles.ts';

/** Of a line; what is longer is cut. Ours have a few hundred. */
const LINE_BYTES_MAX = 2_000;
/** Lines, at once and in the long run. An empty line is one, and so is every LINE_BYTES_MAX that are read. */
export interface Allowed {
  readonly atOnce: number;
  readonly perSecond: number;
}
export const ORDINARY: Allowed = { atOnce: 100, perSecond: 5 };
/** Of a server that says who opens what: a reload of nginx opens thousands of files. */
export const AUDIT: Allowed = { atOnce: 20_000, perSecond: 2_000 };
/** For so long nothing is read of one that has said all that it may. */
const PAUSE_MS = 1_000;
const TEXT_LENGTH_MAX = 500;
const NEWLINE = 0x0a;

/** What processes of ours say in lines of JSON (server-log.ts), and of what kind each field is. */
const OPEN = {
  path: 'string',
  pathSha256: 'string',
  opener: 'number',
  uid: 'number',
  gid: 'number',
  unit: 'string',
  generation: 'number',
  lost: 'number',
  suppressed: 'number',
} as const;
const EVENTS: Readonly<
  Record<
    ServerEvent,
    {
      readonly level: Level;
      readonly fields: Readonly<Record<string, 'number' | 'string'>>;
      /** The one role that may say it. */
      readonly by?: Role;
    }
  >
> = {
  'malformed-request': { level: 'warn', fields: { opcode: 'number', bytes: 'number', count: 'number' } },
  'unknown-request': { level: 'warn', fields: { opcode: 'number', count: 'number' } },
  'reply-refused': { level: 'error', fields: { errno: 'number', opcode: 'number' } },
  'generation-unreadable': { level: 'error', fields: { generation: 'number', why: 'string' } },
  'metrics-not-listening': { level: 'warn', fields: { host: 'string', port: 'number', error: 'string' } },
  'file-opened': { level: 'info', fields: OPEN, by: 'server' },
  'open-refused': { level: 'warn', fields: OPEN, by: 'server' },
  bug: { level: 'error', fields: { error: 'string', count: 'number' } },
};

export interface ChildLogTime {
  readonly timers: Timers;
  readonly nowMs: () => number;
}

const REAL_TIME: ChildLogTime = { timers: realTimers, nowMs: () => performance.now() };

type Level = 'info' | 'warn' | 'error';

/** Of all children of a mount. */
export class ChildLog {
  readonly #log: Log;
  readonly #time: ChildLogTime;
  readonly #allowances = new Map<string, Allowance>();

  constructor(log: Log, time = REAL_TIME) {
    this.#log = log;
    this.#time = time;
  }

  /** Reads until the child has closed it. */
  relay(stderr: Readable, child: { readonly role: Role; readonly pid: number }, allowed = ORDINARY): void {
    const log = this.#log;
    const { timers, nowMs } = this.#time;
    const who = { process: child.role, pid: child.pid };
    const key = `${child.role} ${allowed.perSecond}`;
    const allowance = this.#allowances.get(key) ?? new Allowance(allowed, nowMs);
    this.#allowances.set(key, allowance);
    let line = Buffer.alloc(0);
    let lost = 0;
    const tellLost = () => {
      if (lost > 0) log.warn('child-output-lost', { lines: lost, ...who });
      lost = 0;
    };
    const say = () => {
      const said = line.toString();
      line = Buffer.alloc(0);
      if (!allowance.take()) {
        if (said !== '') lost += 1;
        return;
      }
      if (said === '') return;
      tellLost();
      const { level, event, fields } = parseLine(said, child.role);
      log[level](event, { ...fields, ...who });
    };
    stderr.on('data', (chunk: Buffer) => {
      for (let from = 0; from < chunk.length; ) {
        const newline = chunk.indexOf(NEWLINE, from);
        const end = newline < 0 ? chunk.length : newline;
        if (end > from && line.length < LINE_BYTES_MAX)
          line = Buffer.concat([line, chunk.subarray(from, end)]).subarray(0, LINE_BYTES_MAX);
        if (newline >= 0) say();
        from = end + 1;
      }
      if (allowance.charge(chunk.length / LINE_BYTES_MAX)) return;
      stderr.pause();
      timers.set(() => stderr.resume(), PAUSE_MS);
    });
    stderr.on('end', () => {
      if (line.length > 0) say();
      tellLost();
    });
    // Its end is told otherwise.
    stderr.on('error', () => undefined);
  }
}

/** So many lines at once, and so many a second. */
class Allowance {
  readonly #allowed: Allowed;
  readonly #nowMs: () => number;
  #lines: number;
  #lastMs: number;

  constructor(allowed: Allowed, nowMs: () => number) {
    this.#allowed = allowed;
    this.#lines = allowed.atOnce;
    this.#nowMs = nowMs;
    this.#lastMs = nowMs();
  }

  /** One line: whether it may be said. */
  take(): boolean {
    const now = this.#nowMs();
    const { atOnce, perSecond } = this.#allowed;
    this.#lines = Math.min(atOnce, this.#lines + ((now - this.#lastMs) * perSecond) / 1000);
    this.#lastMs = now;
    if (this.#lines < 1) return false;
    this.#lines -= 1;
    return true;
  }

  /** What reading cost: whether anything may still be said. */
  charge(lines: number): boolean {
    this.#lines = Math.max(0, this.#lines - lines);
    return this.#lines >= 1;
  }
}

interface Line {
  readonly level: Level;
  readonly event: ServerEvent | 'child-output';
  readonly fields: Readonly<Record<string, unknown>>;
}

/** What is no line of ours is text. Of one that is, what does not belong to its event is left out. */
function parseLine(said: string, role: Role): Line {
  const text: Line = { level: 'warn', event: 'child-output', fields: { text: fitForLog(said) } };
  let value: unknown;
  try {
    value = JSON.parse(said);
  } catch {
    return text;
  }
  if (typeof value !== 'object' || value === null) return text;
  const { event, ...rest } = value as Record<string, unknown>;
  if (typeof event !== 'string' || !Object.hasOwn(EVENTS, event)) return text;
  const known = EVENTS[event as ServerEvent];
  if (known.by !== undefined && known.by !== role) return text;
  const fields: Record<string, unknown> = {};
  for (const [name, kind] of Object.entries(known.fields)) {
    const each = rest[name];
    if (typeof each === kind) fields[name] = typeof each === 'string' ? fitForLog(each) : each;
  }
  return { level: known.level, event: event as ServerEvent, fields };
}

/** JSON escapes less than a terminal obeys. */
function fitForLog(text: string): string {
  return escapeInvisible(text.slice(0, TEXT_LENGTH_MAX));
}
