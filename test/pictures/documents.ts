/** Everything in docs/ that is made of what was measured or recorded: as it should stand there. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { markdown } from '../bench/table.ts';
import { REPOSITORY } from '../support/paths.ts';
import { plots } from './figures.ts';
import { type Measurements, measured } from './record.ts';
import { terminal } from './transcript.ts';

const DOCS = path.join(REPOSITORY, 'docs');

/** The text of each file, by its path. */
export function documents(record: Measurements): Map<string, string> {
  const read = (name: string) => readFileSync(path.join(DOCS, name), 'utf8');
  return new Map(
    Object.entries({
      ...plots(record),
      'demo.svg': terminal(read('demo.txt')),
      'benchmarks.md': withTables(read('benchmarks.md'), record),
    }).map(([name, text]) => [path.join(DOCS, name), text]),
  );
}

/** A table stands right below a comment that names its benchmark. */
function withTables(text: string, record: Measurements): string {
  return text.replaceAll(/(<!-- bench: (\S+) -->\n)(?:\|.*\n)*/g, (_, mark: string, benchmark: string) => {
    return `${mark}${markdown(measured(record, benchmark).results)}\n`;
  });
}
