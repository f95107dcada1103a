/**
 * JSON as RFC 8259 has it, looked at byte by byte: JSON.parse() would put the secrets into strings, quote them in its
 * errors, and say no line. Nothing is built, and brackets nest up to a limit that every parser has in some place.
 */
import { type FormatProblem, problemAt, textProblem } from './text.ts';

const DEPTH_MAX = 512;

const [QUOTE, BACKSLASH, COMMA, COLON, MINUS, PLUS, DOT] = [0x22, 0x5c, 0x2c, 0x3a, 0x2d, 0x2b, 0x2e];
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY] = [0x7b, 0x7d, 0x5b, 0x5d];
const [ZERO, NINE] = [0x30, 0x39];
const SPACES = new Set([0x20, 0x09, 0x0a, 0x0d]);
const ESCAPES = new Set([...'"\\/bfnrt'].map((c) => c.charCodeAt(0)));
const EXPONENT = new Set([0x65, 0x45]);
const U = 0x75;
const LITERALS = ['true', 'false', 'null'].map((word) => [...word].map((c) => c.charCodeAt(0)));

class Stop extends Error {
  readonly at: number;
  readonly expected: string;
  constructor(at: number, expected: string) {
    super(expected);
    this.at = at;
    this.expected = expected;
  }
}

/** The first thing that makes it no JSON. */
export function jsonProblem(data: Uint8Array): FormatProblem | undefined {
  const text = textProblem(data);
  if (text !== undefined) return text;
  try {
    scan(data);
    return undefined;
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    return problemAt(
      data,
      error.at,
      error.expected,
      error.at >= data.length ? 'the end of the file' : 'something else',
    );
  }
}

function scan(data: Uint8Array): void {
  /** Of each bracket that is open, what closes it. */
  const open: number[] = [];
  let at = spaces(data, 0);
  for (;;) {
    // A value begins here.
    const byte = data[at];
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      if (open.length >= DEPTH_MAX) throw new Stop(at, `at most ${DEPTH_MAX} levels`);
      const close = byte === OPEN_OBJECT ? CLOSE_OBJECT : CLOSE_ARRAY;
      at = spaces(data, at + 1);
      if (data[at] !== close) {
        open.push(close);
        if (byte === OPEN_OBJECT) at = name(data, at, 'a name in double quotes, or }');
        continue;
      }
      at++;
    } else if (byte === QUOTE) {
      at = string(data, at);
    } else if (byte === MINUS || isDigit(byte)) {
      at = number(data, at);
    } else {
      at = literal(data, at);
    }
    // And here one has ended, and with it perhaps what it is in.
    for (;;) {
      at = spaces(data, at);
      const close = open.at(-1);
      if (close === undefined) {
        if (at < data.length) throw new Stop(at, 'the end of the file');
        return;
      }
      if (data[at] === COMMA) {
        at = spaces(data, at + 1);
        if (close === CLOSE_OBJECT) at = name(data, at, 'a name in double quotes');
        break;
      }
      if (data[at] !== close) throw new Stop(at, close === CLOSE_OBJECT ? 'a comma or }' : 'a comma or ]');
      open.pop();
      at++;
    }
  }
}

function name(data: Uint8Array, from: number, expected: string): number {
  if (data[from] !== QUOTE) throw new Stop(from, expected);
  const at = spaces(data, string(data, from));
  if (data[at] !== COLON) throw new Stop(at, 'a colon');
  return spaces(data, at + 1);
}

function string(data: Uint8Array, from: number): number {
  for (let at = from + 1; ; at++) {
    const byte = data[at];
    if (byte === undefined) throw new Stop(at, 'the end of a string');
    if (byte === QUOTE) return at + 1;
    if (byte < 0x20) throw new Stop(at, 'no control character in a string');
    if (byte !== BACKSLASH) continue;
    at++;
    const escaped = data[at];
    if (escaped === U) {
      for (let i = 1; i <= 4; i++)
        if (!isHex(data[at + i])) throw new Stop(at + i, 'four hexadecimal digits');
      at += 4;
    } else if (escaped === undefined || !ESCAPES.has(escaped)) {
      throw new Stop(at, 'an escape that JSON knows');
    }
  }
}

function number(data: Uint8Array, from: number): number {
  let at = data[from] === MINUS ? from + 1 : from;
  if (data[at] === ZERO) at++;
  else at = digits(data, at);
  if (data[at] === DOT) at = digits(data, at + 1);
  if (EXPONENT.has(data[at] ?? 0)) {
    at++;
    if (data[at] === PLUS || data[at] === MINUS) at++;
    at = digits(data, at);
  }
  return at;
}

function digits(data: Uint8Array, from: number): number {
  let at = from;
  while (isDigit(data[at])) at++;
  if (at === from) throw new Stop(at, 'a digit');
  return at;
}

function literal(data: Uint8Array, from: number): number {
  for (const word of LITERALS)
    if (word.every((byte, i) => data[from + i] === byte)) return from + word.length;
  throw new Stop(from, 'a value');
}

function spaces(data: Uint8Array, from: number): number {
  let at = from;
  while (SPACES.has(data[at] ?? 0)) at++;
  return at;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= NINE;
}

function isHex(byte: number | undefined): boolean {
  return byte !== undefined && /^[0-9a-fA-F]$/.test(String.fromCharCode(byte));
}
