/** Tables for people: columns two spaces apart, as wide as the screen at most. */
import { cut, padEnd, widthOf, wrap } from './width.ts';

const GAP = '  ';
/** A column that is narrower shows nothing that could be read. */
const WIDTH_MIN = 8;

/**
 * Lines of at most `columns` cells (undefined: as wide as they are). Where they would be wider, the widest columns get several
 * lines a row; where that does not do, every cell has a line of its own below the first. Nothing is ever left out.
 */
export function formatTable(rows: readonly (readonly string[])[], columns?: number): string[] {
  const natural: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => {
      natural[i] = Math.max(natural[i] ?? 0, widthOf(cell));
    });
  }
  const widths = columns === undefined ? natural : narrowed(natural, columns);
  if (widths === undefined) return rows.flatMap((row) => stacked(row, columns ?? 0));
  return rows.flatMap((row) => lines(row, widths));
}

/** The widest columns cut to one width, the largest that fits; undefined where none does. */
function narrowed(natural: readonly number[], columns: number): number[] | undefined {
  const room = columns - GAP.length * (natural.length - 1);
  const with_ = (most: number) => natural.map((width) => Math.min(width, most));
  for (let most = Math.max(0, ...natural); most >= WIDTH_MIN; most--) {
    const widths = with_(most);
    if (widths.reduce((sum, width) => sum + width, 0) <= room) return widths;
  }
  return undefined;
}

function lines(row: readonly string[], widths: readonly number[]): string[] {
  const cells = row.map((cell, i) => {
    const width = widths[i] ?? 0;
    return widthOf(cell) <= width ? [cell] : wrap(cell, width);
  });
  const height = Math.max(1, ...cells.map((cell) => cell.length));
  return Array.from({ length: height }, (_, at) =>
    cells
      .map((cell, i) => padEnd(cell[at] ?? '', widths[i] ?? 0))
      .join(GAP)
      .trimEnd(),
  );
}

function stacked(row: readonly string[], columns: number): string[] {
  const [first = '', ...rest] = row;
  const below = rest.filter((cell) => cell !== '').flatMap((cell) => cut(cell, columns - GAP.length));
  return [...cut(first, columns), ...below.map((line) => GAP + line)];
}
