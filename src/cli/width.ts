/** How wide text is on a terminal, and how it is brought into lines that fit. */

/** Columns of a terminal that does not say. */
const COLUMNS_DEFAULT = 80;
/** Narrower, words would be cut into letters. */
const COLUMNS_MIN = 20;

/** Unicode's East Asian Wide and emoji, in ranges: https://www.unicode.org/reports/tr11/ */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;

/** Cells that `text` takes. What controls a terminal is counted as nothing: it must be escaped before. */
export function widthOf(text: string): number {
  if (/^[ -~]*$/.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += /[\p{M}\p{C}]/u.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
  return width;
}

export function padEnd(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - widthOf(text)));
}

/** Columns of what facts are written to; undefined where that is no terminal, and lines may be as long as they are. */
export function columnsOf(stdout: {
  readonly isTTY?: boolean;
  readonly columns?: number;
}): number | undefined {
  return stdout.isTTY === true ? Math.max(COLUMNS_MIN, stdout.columns || COLUMNS_DEFAULT) : undefined;
}

/** Lines of at most `columns` cells, broken at blanks, and within a word that is longer by itself. Never none. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line: string | undefined;
  for (const word of text.split(' ')) {
    const joined: string = line === undefined ? word : `${line} ${word}`;
    if (widthOf(joined) <= columns) {
      line = joined;
      continue;
    }
    if (line !== undefined) lines.push(line);
    const pieces = cut(word, columns);
    line = pieces.pop();
    lines.push(...pieces);
  }
  return line === undefined ? lines : [...lines, line];
}

/** The same, broken wherever it is full. */
export function cut(text: string, columns: number): string[] {
  const pieces: string[] = [];
  let piece = '';
  let width = 0;
  for (const character of text) {
    const more = widthOf(character);
    if (piece !== '' && width + more > columns) {
      pieces.push(piece);
      piece = '';
      width = 0;
    }
    piece += character;
    width += more;
  }
  return [...pieces, piece];
}

/** `text` after `lead`; what does not fit goes on below where it begins. */
export function hang(lead: string, text: string, columns: number | undefined): string[] {
  if (columns === undefined) return [lead + text];
  // A narrow terminal has no room for a column of its own.
  const indent = Math.min(widthOf(lead), Math.floor(columns / 2));
  const [first = '', ...rest] = wrap(text, columns - indent);
  const fits = widthOf(lead) + widthOf(first) <= columns;
  const lines = fits ? [lead + first] : [lead.trimEnd(), ' '.repeat(indent) + first];
  return [...lines, ...rest.map((line) => ' '.repeat(indent) + line)];
}
