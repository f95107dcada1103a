/** How a person reads what doctor found: by area, each with what mends it below it, and a line that sums it up. */
import type { Finding, State } from '../doctor/finding.ts';
import { escapeInvisible } from '../errors.ts';
import type { Ui } from './ui.ts';
import { wrap } from './width.ts';

/** SGR: green, yellow, red, cyan. */
const COLOURS: Readonly<Record<State, number>> = { ok: 32, warning: 33, problem: 31, unknown: 36 };
const STATES = Object.keys(COLOURS) as State[];
const MARK_WIDTH = Math.max(...STATES.map((state) => state.length));
const INDENT = ' '.repeat(MARK_WIDTH + 4);
/** Narrower, and words would stand alone. */
const TEXT_WIDTH_MIN = 24;

export function countsOf(findings: readonly Finding[]): Record<State, number> {
  const counts = { ok: 0, warning: 0, problem: 0, unknown: 0 };
  for (const { state } of findings) counts[state] += 1;
  return counts;
}

export function printFindings(findings: readonly Finding[], ui: Pick<Ui, 'printSpans' | 'columns'>): void {
  let area = '';
  for (const finding of findings) {
    if (finding.area !== area) {
      area = finding.area;
      ui.printSpans([{ text: area, colour: 1 }]);
    }
    const { state, what, found, fix } = finding;
    const [first = '', ...rest] = lines(escapeInvisible(`${what}: ${found}`), ui.columns);
    ui.printSpans([
      { text: '  ' },
      { text: state.padEnd(MARK_WIDTH), colour: COLOURS[state] },
      { text: `  ${first}` },
    ]);
    for (const line of rest) ui.printSpans([{ text: `${INDENT}${line}` }]);
    // Whole: a command that is broken into lines can't be copied.
    if (fix !== null) ui.printSpans([{ text: `${INDENT}${state === 'unknown' ? 'see' : 'fix'}: ${fix}` }]);
  }
  const counts = countsOf(findings);
  const sums = STATES.map((state) => `${counts[state]} ${state}`).join(', ');
  for (const line of lines(sums, ui.columns, 0)) ui.printSpans([{ text: line }]);
}

/** Beside `indent`; whole where there is no width to keep to. */
function lines(text: string, columns: number | undefined, indent = INDENT.length): string[] {
  return columns === undefined ? [text] : wrap(text, Math.max(TEXT_WIDTH_MIN, columns - indent));
}
