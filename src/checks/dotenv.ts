/**
 * Files of NAME=value lines, as dotenv libraries, shells and systemd's EnvironmentFile= all take them: empty lines,
 * comments, perhaps `export `, a name, `=`, and a value that is bare or in quotes. In quotes it may go over several lines.
 */
import { type FormatProblem, problemAt, textProblem } from './text.ts';

const [LINE_FEED, RETURN, SPACE, TAB, HASH, EQUALS, BACKSLASH] = [0x0a, 0x0d, 0x20, 0x09, 0x23, 0x3d, 0x5c];
const DOUBLE_QUOTE = 0x22;
const QUOTES = new Set([DOUBLE_QUOTE, 0x27, 0x60]);
const EXPORT = [...'export'].map((c) => c.charCodeAt(0));

/** The first thing that makes it none. */
export function dotenvProblem(data: Uint8Array): FormatProblem | undefined {
  const text = textProblem(data);
  if (text !== undefined) return text;
  for (let at = 0; at < data.length; ) {
    const begun = blanks(data, at);
    if (isEnd(data, begun) || data[begun] === HASH) {
      at = lineEnd(data, begun) + 1;
      continue;
    }
    const exported =
      EXPORT.every((byte, i) => data[begun + i] === byte) && isBlank(data[begun + EXPORT.length]);
    const name = exported ? blanks(data, begun + EXPORT.length) : begun;
    if (!isNameStart(data[name])) return problemAt(data, name, 'a name', found(data, name));
    let end = name;
    while (isNamePart(data[end])) end++;
    const equals = blanks(data, end);
    if (data[equals] !== EQUALS) return problemAt(data, equals, '= after a name', found(data, equals));
    const value = blanks(data, equals + 1);
    const quote = data[value];
    if (quote === undefined || !QUOTES.has(quote)) {
      at = lineEnd(data, value) + 1;
      continue;
    }
    const closed = closing(data, value, quote);
    if (closed < 0) return problemAt(data, value, 'a quote that is closed', 'the end of the file');
    const rest = blanks(data, closed + 1);
    if (!isEnd(data, rest) && data[rest] !== HASH) {
      return problemAt(data, rest, 'the end of the line after a quote is closed', 'something else');
    }
    at = lineEnd(data, rest) + 1;
  }
  return undefined;
}

/** Where the quote that opens at `from` is closed; -1 if it is not. */
function closing(data: Uint8Array, from: number, quote: number): number {
  for (let at = from + 1; at < data.length; at++) {
    if (data[at] === quote) return at;
    // In single quotes and backquotes it means nothing.
    if (quote === DOUBLE_QUOTE && data[at] === BACKSLASH) at++;
  }
  return -1;
}

function found(data: Uint8Array, at: number): string {
  if (at >= data.length) return 'the end of the file';
  return isEnd(data, at) ? 'the end of the line' : 'something else';
}

function blanks(data: Uint8Array, from: number): number {
  let at = from;
  while (isBlank(data[at])) at++;
  return at;
}

function isBlank(byte: number | undefined): boolean {
  return byte === SPACE || byte === TAB;
}

function isEnd(data: Uint8Array, at: number): boolean {
  const byte = data[at];
  return (
    byte === undefined || byte === LINE_FEED || (byte === RETURN && (data[at + 1] ?? LINE_FEED) === LINE_FEED)
  );
}

function lineEnd(data: Uint8Array, from: number): number {
  const at = data.indexOf(LINE_FEED, from);
  return at < 0 ? data.length : at;
}

function isNameStart(byte: number | undefined): boolean {
  return byte !== undefined && /^[A-Za-z_]$/.test(String.fromCharCode(byte));
}

function isNamePart(byte: number | undefined): boolean {
  return byte !== undefined && /^[A-Za-z0-9_.-]$/.test(String.fromCharCode(byte));
}
