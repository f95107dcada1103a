/** Results as lines of a table that a person reads in a terminal and Markdown takes as it is. */
import type { Result } from './measure.ts';

const COLUMNS = [
  ['what', 64],
  ['where', 8],
  ['measured', 10],
  ['ratio', 32],
  ['target', 44],
  ['statistic', 18],
] as const;

export function headings(): string {
  return `${line(COLUMNS.map(([heading]) => heading))}\n${line(COLUMNS.map(([, width]) => '-'.repeat(width)))}`;
}

export function row({ name, value, unit, statistic, placement, ratio, targets, note }: Result): string {
  const digits = unit === '×' ? 2 : unit === 'µs' || value < 10 ? 1 : 0;
  const interval = ratio?.interval?.map((end) => end.toFixed(3)).join(' to ');
  return line([
    note === undefined ? name : `${name} (${note})`,
    placement ?? '',
    `${value.toFixed(digits)} ${unit}`,
    ratio === undefined
      ? ''
      : interval === undefined
        ? `${ratio.value.toFixed(2)} × ${ratio.to}`
        : `${ratio.value.toFixed(3)} × ${ratio.to} (${interval})`,
    (targets ?? []).map(({ text, met }) => `${text}: ${met ? 'met' : 'MISSED'}`).join('; '),
    statistic,
  ]);
}

function line(cells: readonly string[]): string {
  return `| ${cells.map((cell, i) => cell.padEnd(COLUMNS[i]?.[1] ?? 0)).join(' | ')} |`;
}
