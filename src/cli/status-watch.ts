/**
 * A screen that is drawn over and over, on the terminal's other page, so that what was there before is there again at the end.
 * Each picture is one write over the last one: nothing is cleared before, nothing is left of it after.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { escapeInvisible } from '../errors.ts';
import { onInterrupt } from './interrupt.ts';
import { type Line, textOf } from './status-line.ts';
import { hasColours, painted } from './ui.ts';
import { columnsOf, cut } from './width.ts';

const EVERY_MS = 1_000;
const ROWS_DEFAULT = 24;

// xterm's control sequences: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';
/** Terminals that know it show all of what is between at once; others ignore it. */
const AT_ONCE = { begin: '\u001b[?2026h', end: '\u001b[?2026l' } as const;

export interface Screen {
  readonly columns: number;
  readonly rows: number;
  readonly colours: boolean;
}

/** `lines` as what such a terminal is sent: what has no room is counted in its last line. */
export function picture(lines: readonly Line[], { columns, rows, colours }: Screen): string {
  const all = lines.flatMap((line) => {
    const pieces = cut(escapeInvisible(textOf(line)).replaceAll('\n', ' '), columns);
    return typeof line === 'string' || !colours ? pieces : pieces.map((each) => painted(line.colour, each));
  });
  const more = all.length - rows;
  const shown =
    more <= 0 ? all : [...all.slice(0, rows - 1), `... and ${more + 1} lines more`.slice(0, columns)];
  return `${AT_ONCE.begin}${HOME}${shown.map((line) => line + CLEAR_LINE).join('\r\n')}${CLEAR_BELOW}${AT_ONCE.end}`;
}

/** Until Ctrl-C, or another signal that ends. `look` is asked for lines of at most that many columns; what it throws ends it, too. */
export async function watch(
  { stdout, env }: { readonly stdout: NodeJS.WriteStream; readonly env: NodeJS.ProcessEnv },
  look: (columns: number) => Promise<readonly Line[]>,
): Promise<void> {
  const { signal, end } = onInterrupt();
  let wake = new AbortController();
  let over = false;
  const again = () => wake.abort();
  const stop = () => {
    over = true;
    again();
  };
  signal.addEventListener('abort', stop);
  // A terminal that is gone is no place to draw on.
  stdout.on('error', stop).on('resize', again);
  stdout.write(ENTER);
  const colours = hasColours(stdout, env);
  try {
    while (!over) {
      wake = new AbortController();
      const lines = await look(columnsOf(stdout) ?? 0);
      // Whose size may be another by now.
      const screen = { columns: columnsOf(stdout) ?? 0, rows: stdout.rows || ROWS_DEFAULT, colours };
      if (!over) stdout.write(picture(lines, screen));
      await sleep(EVERY_MS, undefined, { signal: wake.signal }).catch(() => undefined);
    }
  } finally {
    end();
    stdout.removeListener('resize', again);
    stdout.write(LEAVE);
  }
}
