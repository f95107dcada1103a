/** Which serial a bundle gets that is sealed now. Mounts refuse one that goes back, and one far ahead of the clock. */
import { OutputError, quote, UsageError } from '../errors.ts';
import { SERIAL_AHEAD_MS_MAX } from '../limits.ts';

export interface NextSerial {
  /** Of the command, for messages. */
  readonly verb: string;
  readonly out: string;
  /** What a person chose, if anything. */
  readonly chosen: number | undefined;
  readonly nowMs: number;
  /** Of the bundle that is to be replaced; 0 where there is none. */
  readonly replaced: number;
  /** Above this too. */
  readonly above?: number;
  /** Goes by the clock alone where what is replaced has a serial that no mount accepts. */
  readonly force: boolean;
}

/** The time in milliseconds, or more where that would go back. Throws OutputError output-exists, UsageError. */
export function nextSerial(options: NextSerial): number {
  const { verb, out, chosen, nowMs, replaced, above = 0, force } = options;
  // What it replaces is not authenticated: whoever may write there can have put any serial into it.
  const forged = replaced > nowMs + SERIAL_AHEAD_MS_MAX;
  if (forged && !force) {
    throw new OutputError(
      'output-exists',
      `cannot replace ${quote(out)}: its serial is ${replaced}, which no mount accepts`,
      { hint: 'it may be forged: find out who wrote it; --force goes by the clock and ignores it' },
    );
  }
  const base = Math.max(forged ? 0 : replaced, above);
  const serial = chosen ?? Math.max(nowMs, base + 1);
  if (serial > base) return serial;
  throw new UsageError(
    `cannot ${verb}: --serial is ${serial}, and the bundle ${base === above ? 'that it is made from' : 'it replaces'} has ${base}`,
    { hint: 'leave --serial out, or give a larger one: mounts refuse a serial that goes back' },
  );
}

/** What --serial says; undefined where it was not given. Throws UsageError. */
export function chosenSerial(verb: string, text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined) return undefined;
  const serial = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(serial)) {
    throw new UsageError(
      `cannot ${verb}: --serial is ${quote(text)}, want a whole number from 1 to ${Number.MAX_SAFE_INTEGER}`,
      { hint: 'leave --serial out: then the clock says it' },
    );
  }
  if (serial > nowMs + SERIAL_AHEAD_MS_MAX) {
    throw new UsageError(
      `cannot ${verb}: --serial is ${serial}, more than an hour ahead of the clock (${nowMs})`,
      { hint: 'no mount would accept it; leave --serial out' },
    );
  }
  return serial;
}
