/** Results as lines of a table that a person reads in a terminal and Markdown takes as it is. */
import type { Result } from './measure.ts';

const COLUMNS = [
  ['what', 64],
  ['where', 8],
  ['measured', 26],
  ['ratio', 32],
  ['target', 44],
  ['statistic', 18],
] as const;

export function headings(): string {
  return `${line(COLUMNS.map(([heading]) => heading))}\n${line(COLUMNS.map(([, width]) => '-'.repeat(width)))}`;
}

export function row(result: Result): string {
  return line(cellsOf(result));
}

/** A whole table for a document, without the columns in which nothing stands. */
export function markdown(results: readonly Result[]): string {
  const table = [COLUMNS.map(([heading]): string => heading), ...results.map(cellsOf)];
  const kept = (cells: readonly string[]) =>
    cells.filter((_, column) => table.slice(1).some((others) => others[column] !== ''));
  const [headings = [], ...rows] = table.map(kept);
  return [headings, headings.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function cellsOf({
  name,
  value,
  unit,
  statistic,
  placement,
  ratio,
  targets,
  note,
  spread,
}: Result): string[] {
  const digits = unit === '×' ? 2 : unit === 'µs' || value < 10 ? 1 : 0;
  const interval = ratio?.interval?.map((end) => end.toFixed(3)).join(' to ');
  const [low, high] = (spread ?? []).map((end) => end.toFixed(digits));
  return [
    note === undefined ? name : `${name} (${note})`,
    placement ?? '',
    low === undefined
      ? `${value.toFixed(digits)} ${unit}`
      : `${value.toFixed(digits)} ${unit} (${low} to ${high})`,
    ratio === undefined
      ? ''
      : interval === undefined
        ? `${ratio.value.toFixed(2)} × ${ratio.to}`
        : `${ratio.value.toFixed(3)} × ${ratio.to} (${interval})`,
    (targets ?? []).map(({ text, met }) => `${text}: ${met ? 'met' : 'MISSED'}`).join('; '),
    statistic,
  ];
}

function line(cells: readonly string[]): string {
  return `| ${cells.map((cell, i) => cell.padEnd(COLUMNS[i]?.[1] ?? 0)).join(' | ')} |`;
}
