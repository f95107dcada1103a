/**
 * The commands of the documents as a shell script: of a console block the lines after "$ ", compared with the output that
 * it shows; of an sh block every line; `file=NAME` makes a file of a block instead.
 */
import { type Block, blocksOf } from './documents.ts';

export interface Step {
  readonly command: string;
  /** What the block shows below the command; nothing is compared where it shows nothing. */
  readonly shown: readonly string[];
}

/** Stands between the outputs of two commands. */
export const SEPARATOR = '\u001e';

/** Every step of a group, in order. Files are steps too. Throws where there is no such group. */
export function stepsOf(group: string): Step[] {
  return blocksOf(group).flatMap(stepsOfBlock);
}

function stepsOfBlock({ language, body, file }: Block): Step[] {
  if (file !== undefined) return [{ command: `cat > ${file} <<'END'\n${body}END`, shown: [] }];
  if (language === 'console') return stepsOfConsole(body);
  const lines = body.replaceAll(/\\\n\s*/g, '').split('\n');
  return lines.filter((line) => /^[^#]/.test(line)).map((command) => ({ command, shown: [] }));
}

function stepsOfConsole(body: string): Step[] {
  return body
    .split(/^\$ /m)
    .slice(1)
    .map((part) => {
      const [command = '', ...shown] = part.trimEnd().split('\n');
      return { command, shown };
    });
}

/** One bash for all steps, which ends at the first that fails. */
export function scriptOf(steps: readonly Step[]): string {
  return ['set -eu', 'exec 2>&1', ...steps.flatMap(({ command }) => [`printf '${SEPARATOR}'`, command])].join(
    '\n',
  );
}

/** Times, serials, sizes and names of keys, which differ from run to run, as their kind. */
export function plain(line: string): string {
  return (
    line
      .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
      .replace(/\b[A-Z][a-z]{2} [ \d]\d \d\d:\d\d\b/g, 'DATE')
      .replace(/arn:aws:kms:[^\s"]+/g, 'ARN')
      .replace(/\b\d{13}\b/g, 'SERIAL')
      .replace(/\b[0-9a-f]{16}\b/g, 'KEY')
      .replace(/\b[0-9a-f]{12}\b/g, 'ETAG')
      // A key or certificate is a few bytes longer or shorter each time.
      .replace(/(^file .* 0:0 +)\d{4} +"/, '$1SIZE "')
      .replace(/ 1 root root \d{4} /, ' 1 root root SIZE ')
      .replace(/\d\.\d KiB sealed, frames of \d\.\d KiB/, 'SIZE sealed')
      .replace(/\d\.\d KiB, to/, 'SIZE, to')
      .replace(/^total \d+$/, 'total')
      .replace(/store \d+\.\d KiB, processes [\d.]+ MiB/, 'store SIZE, processes SIZE')
      // Whether the watcher or the person was first.
      .replace(
        /nothing changed; serial SERIAL is live, generation \d, since TIME, \d+ s ago$/,
        'serial SERIAL is live',
      )
      .replace(/serial SERIAL is live, generation \d \(.*\)$/, 'serial SERIAL is live')
      // As the kernel has it.
      .replace(/FUSE 7\.\d+, .*$/, 'FUSE')
      // An attempt that found nothing new takes a number too.
      .replace(/^ {2}generation {2}\d,/, '  generation  N,')
      .replace(/TIME, \d+ s ago/, 'TIME, AGO')
      .replace(/(last check {2}TIME, AGO: )\w+$/, '$1OUTCOME')
      .replace(/, pid \d+, since/, ', pid PID, since')
      .replace(/^( {2}revision {4})file:.*$/, '$1FILE')
      .replace(/^( {2}process {5}\w+) \d+ as \d+ since TIME, [\d.]+ [KM]iB/, '$1 PID as UID since TIME, SIZE')
      .trimEnd()
  );
}
