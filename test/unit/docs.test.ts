/** The documents name everything that they promise to name, and their links lead somewhere. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { COMMANDS } from '../../src/cli/commands.ts';
import { flagName, SECTION_NAMES, SETTING_NAMES, variableName } from '../../src/daemon/config.ts';
import { EXIT_CODES } from '../../src/errors.ts';
import { REPOSITORY } from '../support/paths.ts';

const read = (file: string) => readFileSync(path.join(REPOSITORY, file), 'utf8');
const cliAbi = read('docs/cli-abi.md');
const readme = read('README.md');

/** What stands first in the rows of the tables below a heading, up to the next heading of that or a higher level. */
function rowsBelow(text: string, heading: string): string[] {
  const level = /^#+/.exec(heading)?.[0].length ?? 0;
  const rest = text.split(`\n${heading}`)[1] ?? '';
  const section = rest.split(new RegExp(`^#{1,${level}} `, 'm'))[0] ?? '';
  return [...section.matchAll(/^\| ((?:\\\||[^|\n])+?) +\|/gm)].map(([, cell = '']) =>
    cell.replaceAll('`', ''),
  );
}

function difference(a: readonly string[], b: readonly string[]): string[] {
  return a.filter((each) => !b.includes(each));
}

/** The table in src/errors.ts, as code → class. */
function codesOfSource(): Map<string, string> {
  const table = /const CODES = \{(.*?)\n\}/s.exec(read('src/errors.ts'))?.[1] ?? '';
  return new Map(
    [...table.matchAll(/^ {2}'?([a-z-]+)'?: '([a-z]+)'/gm)].map(([, code = '', kind = '']) => [code, kind]),
  );
}

test('docs/cli-abi.md has every error code of src/errors.ts, and no other', () => {
  const codes = codesOfSource();
  assert.ok(codes.size > 50, `${codes.size} codes were found`);
  const documented = rowsBelow(cliAbi, '## Error codes').filter(
    (cell) => cell !== 'code' && !/^-+$/.test(cell),
  );
  assert.deepEqual(difference([...codes.keys()], documented), []);
  assert.deepEqual(difference(documented, [...codes.keys()]), []);
  assert.equal(new Set(documented).size, documented.length);
});

test('docs/cli-abi.md has every code under the exit code that it ends with', () => {
  for (const [code, kind] of codesOfSource()) {
    const exitCode = EXIT_CODES[kind as keyof typeof EXIT_CODES];
    const sections = cliAbi.split(/^### /m).filter((section) => section.includes(`\n| \`${code}\` |`));
    assert.equal(sections.length, 1, code);
    assert.match(sections[0]?.split('\n')[0] ?? '', new RegExp(`${kind} \\(${exitCode}\\)`), code);
  }
});

test('docs/cli-abi.md has every exit code', () => {
  const documented = rowsBelow(cliAbi, '## Exit codes');
  assert.deepEqual(difference(Object.values(EXIT_CODES).map(String), documented), []);
});

test('docs/cli-abi.md has every setting with its variable', () => {
  for (const setting of SETTING_NAMES) {
    const row = new RegExp(`^\\| \`${setting}\` \\| \`${variableName(setting)}\``, 'm');
    assert.match(cliAbi, row, `no row of ${setting} (--${flagName(setting)})`);
  }
  const documented = rowsBelow(cliAbi, '## Settings').filter(
    (cell) => cell !== 'setting' && !/^-+$/.test(cell),
  );
  assert.deepEqual(difference(documented, SETTING_NAMES), []);
});

test('docs/cli-abi.md has every section of the config', () => {
  const documented = rowsBelow(cliAbi, '## Sections of the config');
  assert.deepEqual(difference(SECTION_NAMES, documented), []);
});

test('docs/cli-abi.md has every event of the log', () => {
  const daemon = readdirSync(path.join(REPOSITORY, 'src/daemon'))
    .map((name) => read(`src/daemon/${name}`))
    .join('\n');
  const events = [...daemon.matchAll(/(?:log|ports\.log)\.(?:info|warn|error)\('([a-z-]+)'/g)].map(
    ([, event = '']) => event,
  );
  assert.ok(events.length > 8, `${events.length} events were found`);
  const documented = rowsBelow(cliAbi, '## Log of a mount').flatMap((cell) => cell.split(', '));
  assert.deepEqual(difference(events, documented), []);
});

const operations = read('docs/operations.md');
const cellsBelow = (heading: string) =>
  rowsBelow(operations, heading)
    .flatMap((cell) => cell.split(', '))
    .filter((cell) => !['alert', 'code', 'event'].includes(cell) && !/^-+$/.test(cell));

test('docs/operations.md says what to do about every alert', () => {
  const alerts = [...read('docs/alerts.yaml').matchAll(/- alert: (\w+)/g)].map(([, name = '']) => name);
  assert.ok(alerts.length > 8, `${alerts.length} alerts were found`);
  assert.deepEqual(cellsBelow('## Alerts').sort(), alerts.sort());
});

test('docs/operations.md says what to do about every error code', () => {
  assert.deepEqual(cellsBelow('## Error codes').sort(), [...codesOfSource().keys()].sort());
});

test('docs/operations.md says what to do about every event of the log', () => {
  const types = read('src/daemon/log.ts').split('export interface Log')[0] ?? '';
  const events = [...types.matchAll(/^ {2}\| '([a-z-]+)'/gm)].map(([, event = '']) => event);
  assert.ok(events.length > 40, `${events.length} events were found`);
  const known = [...new Set(events)].sort();
  assert.deepEqual(cellsBelow('## Log').sort(), known);
  const documented = rowsBelow(cliAbi, '## Log of a mount').flatMap((cell) => cell.split(', '));
  assert.deepEqual(difference(known, documented), []);
});

test('README.md has every command of the program, and docs/cli-abi.md its JSON', () => {
  assert.ok(COMMANDS.length > 10, `${COMMANDS.length} commands were found`);
  for (const rows of [rowsBelow(readme, '## Commands'), rowsBelow(cliAbi, '## JSON of each command')]) {
    const undocumented = COMMANDS.filter(({ name }) => !rows.some((row) => `${row} `.startsWith(`${name} `)));
    assert.deepEqual(
      undocumented.map(({ name }) => name),
      [],
    );
  }
});

/** As GitHub names the anchors of headings. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => {
    return heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-');
  });
}

test('every relative link of README.md, CHANGELOG.md and docs/ leads to one place', () => {
  const docs = readdirSync(path.join(REPOSITORY, 'docs')).filter((name) => name.endsWith('.md'));
  const problems: string[] = [];
  for (const file of ['README.md', 'CHANGELOG.md', ...docs.map((name) => `docs/${name}`)]) {
    for (const [, target = ''] of read(file).matchAll(/\]\(([^)]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      const [to = '', anchor] = target.split('#');
      const found = to === '' ? file : path.join(path.dirname(file), to);
      if (!existsSync(path.join(REPOSITORY, found))) problems.push(`${file}: ${target}`);
      else if (anchor !== undefined) {
        const headings = anchorsOf(read(found)).filter((name) => name === anchor).length;
        if (headings !== 1) problems.push(`${file}: ${target}: ${headings} such headings`);
      }
    }
  }
  assert.deepEqual(problems, []);
});
