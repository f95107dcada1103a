/** What the checks of formats share: where in a file something is wrong, said without a byte of it. */
import { isUtf8 } from 'node:buffer';

/** `expected` and `found` are our words alone: nothing that stands in the file. */
export interface FormatProblem {
  /** Both from 1; a column counts bytes. */
  readonly line: number;
  readonly column: number;
  readonly expected: string;
  readonly found: string;
}

const LINE_FEED = 0x0a;
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];

export function problemAt(data: Uint8Array, offset: number, expected: string, found: string): FormatProblem {
  let line = 1;
  let start = 0;
  for (let at = data.indexOf(LINE_FEED); at >= 0 && at < offset; at = data.indexOf(LINE_FEED, at + 1)) {
    line++;
    start = at + 1;
  }
  return { line, column: offset - start + 1, expected, found };
}

/** What no reader of any of the formats takes. */
export function textProblem(data: Uint8Array): FormatProblem | undefined {
  if (!isUtf8(data)) return problemAt(data, 0, 'UTF-8', 'bytes that are not');
  if (BYTE_ORDER_MARK.every((byte, i) => data[i] === byte))
    return problemAt(data, 0, 'no byte order mark', 'one');
  const nul = data.indexOf(0);
  return nul < 0 ? undefined : problemAt(data, nul, 'text', 'a NUL');
}
