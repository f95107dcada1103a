/**
 * What children say on their standard error, into the log of the supervisor: a pipe for each, read line by line. A child
 * may be subverted, so a line is foreign: cut, escaped, rate-limited, and always under the child's own role and pid.
 *
 * Invariants: no child can block the log, fill it faster than LINES_A_SECOND, or write as somebody else; nothing here waits
 * for a child, and a child waits for nobody here (child.ts: what does not fit into the pipe is lost).
 */
import type { Readable } from 'node:stream';
import type { Log, ServerEvent } from './log.ts';
import type { Role } from './roles.ts';

/** Of a line; what is longer is cut. Ours have a few hundred. */
const LINE_BYTES_MAX = 2_000;
/** At once; and in the long run. */
const LINES_MAX = 100;
const LINES_A_SECOND = 5;
/** Fields of a line, and of a text among them. */
const FIELDS_MAX = 10;
const TEXT_LENGTH_MAX = 500;
const NEWLINE = 0x0a;

/** What processes of ours say in lines of JSON (server-log.ts). */
const EVENTS: Readonly<Record<ServerEvent, 'warn' | 'error'>> = {
  'malformed-request': 'warn',
  'unknown-request': 'warn',
  'reply-refused': 'error',
  'generation-unreadable': 'error',
  bug: 'error',
};

/** Reads until the child has closed it. */
export function relayLog(
  stderr: Readable,
  child: { readonly role: Role; readonly pid: number },
  log: Log,
  nowMs: () => number = () => performance.now(),
): void {
  const who = { process: child.role, pid: child.pid };
  let line = Buffer.alloc(0);
  let cut = false;
  let allowed = LINES_MAX;
  let lastMs = nowMs();
  let lost = 0;
  const say = () => {
    const now = nowMs();
    allowed = Math.min(LINES_MAX, allowed + ((now - lastMs) * LINES_A_SECOND) / 1000);
    lastMs = now;
    const said = line.toString();
    line = Buffer.alloc(0);
    cut = false;
    if (said === '') return;
    if (allowed < 1) {
      lost += 1;
      return;
    }
    allowed -= 1;
    tellLost();
    const { level, event, fields } = parseLine(said);
    log[level](event, { ...fields, ...who });
  };
  const tellLost = () => {
    if (lost > 0) log.warn('child-output-lost', { lines: lost, ...who });
    lost = 0;
  };
  stderr.on('data', (chunk: Buffer) => {
    for (let from = 0; from < chunk.length; ) {
      const newline = chunk.indexOf(NEWLINE, from);
      const end = newline < 0 ? chunk.length : newline;
      if (!cut) line = Buffer.concat([line, chunk.subarray(from, end)]).subarray(0, LINE_BYTES_MAX);
      cut = line.length === LINE_BYTES_MAX;
      if (newline >= 0) say();
      from = end + 1;
    }
  });
  stderr.on('end', () => {
    if (line.length > 0) say();
    tellLost();
  });
  // Its end is told otherwise.
  stderr.on('error', () => undefined);
}

interface Line {
  readonly level: 'warn' | 'error';
  readonly event: ServerEvent | 'child-output';
  readonly fields: Readonly<Record<string, unknown>>;
}

/** What is no line of ours is text. The log escapes what a terminal would obey. */
function parseLine(said: string): Line {
  const text: Line = {
    level: 'warn',
    event: 'child-output',
    fields: { text: said.slice(0, TEXT_LENGTH_MAX) },
  };
  let value: unknown;
  try {
    value = JSON.parse(said);
  } catch {
    return text;
  }
  if (typeof value !== 'object' || value === null) return text;
  const { event, level: _level, time: _time, ...rest } = value as Record<string, unknown>;
  if (typeof event !== 'string' || !Object.hasOwn(EVENTS, event)) return text;
  const fields: Record<string, unknown> = {};
  for (const [name, each] of Object.entries(rest).slice(0, FIELDS_MAX)) {
    if (!/^[a-z][a-zA-Z]{0,30}$/.test(name)) continue;
    if (typeof each === 'number') fields[name] = each;
    else if (typeof each === 'string') fields[name] = each.slice(0, TEXT_LENGTH_MAX);
  }
  return { level: EVENTS[event as ServerEvent], event: event as ServerEvent, fields };
}
