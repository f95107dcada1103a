/**
 * Everything that a person sees. Facts go to stdout, everything else to stderr. A message is `secretsfs: text (code)`,
 * lower case, no full stop, with a hint on a line of its own. Colours and progress only on a terminal, and never with
 * NO_COLOR (colours) or TERM=dumb.
 */
import { describeBug, EXIT_CODES, escapeInvisible, quote, SecretsfsError } from '../errors.ts';
import { stdoutFailed } from './streams.ts';
import { formatTable } from './table.ts';
import { columnsOf } from './width.ts';

/** Nothing is shown of what ends sooner. */
const PROGRESS_AFTER_MS = 1_000;
const PROGRESS_EVERY_MS = 100;

export interface Ui {
  /** A line of facts on stdout: what is foreign in it makes no other. */
  print(line: string): void;
  /** Facts in columns, within the width of a terminal; what is foreign in a cell stays in it. */
  printTable(rows: readonly (readonly string[])[]): void;
  /** Lines of our own. */
  printText(text: string): void;
  /** A line of facts of which parts are in colour, where stdout is a terminal that takes them: SGR codes. */
  printSpans(spans: readonly { readonly text: string; readonly colour?: number }[]): void;
  /** Of stdout, where it is a terminal: nothing is cut to a width elsewhere. */
  readonly columns: number | undefined;
  /** One JSON document on stdout. */
  printJson(value: unknown): void;
  /** Resolves when all facts are with stdout. Throws OutputError output-failed where they can't be. */
  flushed(): Promise<void>;
  warn(message: string): void;
  /** Shows an error and returns the exit code that belongs to it. */
  fail(error: unknown, options: { readonly json: boolean }): number;
  /**
   * Runs `work` and, once it takes longer than a second on a terminal, shows what it is and how far it got.
   * `report` takes a fraction from 0 to 1; where it is never called, the elapsed seconds are shown.
   */
  progress<T>(label: string, work: (report: (fraction: number) => void) => Promise<T>): Promise<T>;
}

export function createUi(options: {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly env: NodeJS.ProcessEnv;
}): Ui {
  const { stdout, stderr, env } = options;
  const paint = (code: number, text: string, stream = stderr) => {
    const shown = escapeInvisible(text);
    return hasColours(stream, env) ? painted(code, shown) : shown;
  };
  const say = (text: string) => stderr.write(`secretsfs: ${text}\n`);
  let failure: Error | undefined;
  const printFact = (text: string) => {
    // A reader that has seen enough is no error: secretsfs status | head -n 1
    if (stdout.listenerCount('error') === 0) {
      stdout.on('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'EPIPE') process.exit(EXIT_CODES.ok);
        failure ??= error;
      });
    }
    stdout.write(`${text}\n`);
  };
  return {
    print: (line) => printFact(inOneLine(line)),
    printTable(rows) {
      const columns = columnsOf(stdout);
      for (const line of formatTable(
        rows.map((row) => row.map(inOneLine)),
        columns,
      ))
        printFact(line);
    },
    printSpans: (spans) => {
      const shown = spans.map(({ text, colour }) => {
        const line = inOneLine(text);
        return colour === undefined ? line : paint(colour, line, stdout);
      });
      printFact(shown.join(''));
    },
    columns: columnsOf(stdout),
    printText: (text) => printFact(escapeInvisible(text)),
    printJson: (value) => printFact(escapeInvisible(JSON.stringify(value, null, 2))),
    async flushed() {
      if (stdout.listenerCount('error') === 0) return;
      await new Promise<void>((resolve) => void stdout.write('', () => setImmediate(resolve)));
      if (failure !== undefined) throw stdoutFailed(failure);
    },
    warn: (message) => void say(paint(33, `warning: ${message}`)),
    fail(error, { json }) {
      if (!(error instanceof SecretsfsError)) return failWithBug(error, say, env);
      if (json) {
        const { code, message, hint, exitCode } = error;
        const facts = { error: { code, message, ...(hint === undefined ? {} : { hint }), exitCode } };
        stderr.write(`${escapeInvisible(JSON.stringify(facts))}\n`);
        return error.exitCode;
      }
      say(paint(31, `${error.message} (${error.code})`));
      if (error.hint !== undefined) say(`hint: ${escapeInvisible(error.hint)}`);
      return error.exitCode;
    },
    async progress(label, work) {
      if (stderr.isTTY !== true || env['TERM'] === 'dumb') return work(() => undefined);
      const begin = performance.now();
      let fraction: number | undefined;
      let drawnMs = 0;
      const draw = () => {
        const elapsedMs = performance.now() - begin;
        if (elapsedMs < Math.max(PROGRESS_AFTER_MS, drawnMs + PROGRESS_EVERY_MS)) return;
        drawnMs = elapsedMs;
        stderr.write(`\r\u001b[K${progressLine(label, fraction, elapsedMs, stderr.columns || 80)}`);
      };
      const timer = setInterval(draw, PROGRESS_EVERY_MS);
      try {
        return await work((value) => {
          fraction = value;
          // Work that keeps the event loop busy starves the timer.
          draw();
        });
      } finally {
        clearInterval(timer);
        if (drawnMs > 0) stderr.write('\r\u001b[K');
      }
    },
  };
}

/** Whether what is written there may be in colour: https://no-color.org */
export function hasColours(stream: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv): boolean {
  return stream.isTTY === true && !env['NO_COLOR'] && env['TERM'] !== 'dumb';
}

/** What is foreign in `text` is escaped already. */
export function painted(code: number, text: string): string {
  return `\u001b[${code}m${text}\u001b[0m`;
}

function inOneLine(text: string): string {
  return escapeInvisible(text).replaceAll('\n', '\\u000a');
}

/** `sealing [#####.....]  52 %` or `sealing 3 s`, never wider than the terminal. */
export function progressLine(
  label: string,
  fraction: number | undefined,
  elapsedMs: number,
  columns: number,
): string {
  if (fraction === undefined) return `${label} ${Math.floor(elapsedMs / 1000)} s`.slice(0, columns - 1);
  const percent = `${Math.floor(fraction * 100)} %`.padStart(5);
  const width = Math.min(40, columns - label.length - percent.length - 5);
  if (width < 5) return `${label} ${percent}`.slice(0, columns - 1);
  const done = Math.floor(width * fraction);
  return `${label} [${'#'.repeat(done)}${'.'.repeat(width - done)}] ${percent}`;
}

/**
 * A bug: its message may hold anything, so only its class and the place are shown, unless SECRETSFS_DEBUG asks for all.
 */
function failWithBug(error: unknown, say: (text: string) => void, env: NodeJS.ProcessEnv): number {
  say(`internal error: ${quote(describeBug(error))}`);
  if (env['SECRETSFS_DEBUG']) say(error instanceof Error ? (error.stack ?? error.message) : String(error));
  else
    say(
      'hint: please report it; SECRETSFS_DEBUG=1 shows the whole error, which may hold what was being worked on',
    );
  return EXIT_CODES.bug;
}

/** 1 file, 2 files */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** 1536 → "1.5 KiB" */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
