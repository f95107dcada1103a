/** The manual pages: each says what --help says, in roff that nobody complains of. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { COMMANDS } from '../../src/cli/commands.ts';
import { LETTERS, OWN_OPTIONS, optionName, parseFstabMount } from '../../src/cli/fstab.ts';
import { mount } from '../../src/cli/mount.ts';
import { FLAGS } from '../../src/cli/options.ts';
import { flagName, SECTION_NAMES, SETTING_NAMES } from '../../src/daemon/config.ts';
import { runInProcess } from '../support/cli.ts';
import { REPOSITORY } from '../support/paths.ts';
import { temporaryDirectory } from '../support/temporary.ts';

let directory: string;

before(async (t) => {
  directory = await temporaryDirectory(t as unknown as Parameters<typeof temporaryDirectory>[0]);
  const env = { ...process.env, SOURCE_DATE_EPOCH: '1700000000' };
  execFileSync(process.execPath, [path.join(REPOSITORY, 'scripts/man.mjs'), path.join(directory, 'man')], {
    env,
  });
});

const pagePath = (name: string) => path.join(directory, 'man', 'man1', `${name}.1`);
const pageFile = (command: string) => pagePath(`secretsfs-${command.replace(' ', '-')}`);
const LINK = 'man8/mount.fuse.secretsfs.8';
const allPages = () =>
  ['man1', 'man5', 'man8'].flatMap((section) =>
    readdirSync(path.join(directory, 'man', section)).map((name) =>
      path.join(directory, 'man', section, name),
    ),
  );

/** As a reader sees it, in one line. */
function shown(file: string): string {
  const text = execFileSync('mandoc', ['-Tutf8', '-Owidth=900', file], { encoding: 'utf8' });
  // Bold and underlined are overstruck: what is before a backspace goes.
  const pieces = text.split('\b');
  const last = pieces.pop() ?? '';
  return [...pieces.map((piece) => piece.slice(0, -1)), last].join('').replace(/\s+/g, ' ');
}

async function helpOf(command: string): Promise<string> {
  const { code, stdout } = await runInProcess([...command.split(' '), '--help'], { columns: 10_000 });
  assert.equal(code, 0);
  return stdout;
}

test('each command has a page with every option and argument that its --help shows', async () => {
  for (const { name, describe } of COMMANDS) {
    const page = shown(pageFile(name));
    const help = await helpOf(name);
    const options = [...help.matchAll(/^ +(?:-\w, )?--([a-z0-9-]+)/gm)].map(([, option = '']) => option);
    assert.ok(options.includes('json') && options.includes('help'), help);
    for (const option of options)
      assert.match(page, new RegExp(`--${option}(?![a-z0-9-])`), `${name} --${option}`);
    const usage = help.split('\n')[0] ?? '';
    for (const [, positional = ''] of usage.matchAll(/[<[](\w+)(?:\.\.)?[\]>]/g))
      assert.ok(page.includes(positional.toUpperCase()), `${name}: ${positional}`);
    assert.ok(page.includes(describe), name);
  }
});

test('the page of an option says what it is, what it may be and what it is by default', () => {
  const rotate = shown(pageFile('rotate'));
  assert.match(rotate, /--format VALUE .{1,80} \[one of secretsfs, sneaker; default: secretsfs\]/);
  assert.match(shown(pageFile('wait')), /--timeout VALUE .{1,90} \[default: 60s\]/);
  assert.match(shown(pageFile('exec')), /\[OPTIONS\] \[PATTERN\.\.\.\] -- PROGRAM \[ARGUMENTS\]/);
  assert.match(shown(pageFile('mount')), /SECRETSFS_ACCEPT_KEY/);
});

test('the page of the program lists every command; that of the config every setting and section', () => {
  const program = shown(pagePath('secretsfs'));
  for (const { name } of COMMANDS)
    assert.ok(program.includes(`secretsfs-${name.replace(' ', '-')}(1)`), name);
  const config = shown(path.join(directory, 'man/man5/secretsfs.yaml.5'));
  for (const name of [...SETTING_NAMES, ...SECTION_NAMES]) assert.match(config, new RegExp(`\\b${name}\\b`));
});

test('the page of mount.secretsfs has every option that a line of fstab may have, and no other', () => {
  const page = shown(path.join(directory, 'man/man8/mount.secretsfs.8'));
  const [, options = ''] = / OPTIONS (.*) Letters /.exec(page) ?? [];
  const own = Object.entries(OWN_OPTIONS).flatMap(([name, describe]) => `${name}=VALUE ${describe}`);
  const flags = mount.settings.flatMap((setting) => {
    const { type, describe } = FLAGS[setting] ?? {};
    return describe === undefined
      ? []
      : `${optionName(flagName(setting))}${type === 'boolean' ? '' : '=VALUE'} ${describe}`;
  });
  for (const option of [...own, ...flags])
    assert.ok(options.includes(` ${option}`) || options.startsWith(option), option);
  const tags = [...options.matchAll(/(?<= |^)([a-z-]+)=VALUE /g)].map(([, name = '']) => name);
  assert.ok(tags.length > 30, `${tags}`);
  for (const name of tags) parseFstabMount(['web', '/m', '-o', `${name}=1`], mount.settings);
  for (const letter of Object.keys(LETTERS)) assert.match(page, new RegExp(` -${letter} `));
});

test('npm -g installs every page', () => {
  const { man } = JSON.parse(readFileSync(path.join(REPOSITORY, 'package.json'), 'utf8'));
  const pages = allPages().map((file) => `dist/man/${path.relative(path.join(directory, 'man'), file)}`);
  assert.deepEqual([...man].sort(), pages.sort());
});

test('mandoc and groff have nothing to say of any page', () => {
  const link = path.join(directory, 'man', LINK);
  assert.equal(readFileSync(link, 'utf8'), '.so man8/mount.secretsfs.8\n');
  const pages = allPages().filter((page) => page !== link);
  assert.equal(pages.length, COMMANDS.length + 3);
  for (const [command, args] of [
    ['mandoc', ['-Tlint', '-Wwarning']],
    ['groff', ['-man', '-ww', '-Tutf8', '-z']],
  ] as const) {
    for (const page of pages) {
      const { stdout, stderr, status } = spawnSync(command, [...args, page], { encoding: 'utf8' });
      assert.deepEqual({ page, said: stdout + stderr, status }, { page, said: '', status: 0 });
    }
  }
});

test('the date of a page is that of SOURCE_DATE_EPOCH', () => {
  assert.match(readFileSync(pagePath('secretsfs'), 'utf8'), /^\.TH "SECRETSFS" "1" "2023-11-14" /);
});

test('whatever a description says is shown as it is said', async () => {
  const roff = await import(pathToFileURL(path.join(REPOSITORY, 'scripts/man/roff.mjs')).href);
  const special = fc.constantFrom(
    '.',
    "'",
    '"',
    '\\',
    '-',
    '--',
    '`',
    '^',
    '~',
    ' ',
    '\\fB',
    '\\&',
    '.PP',
    'a',
    '$',
    '#',
    '|',
  );
  const line = fc.oneof(
    fc.string({ maxLength: 30 }),
    fc.array(special, { maxLength: 12 }).map((words) => words.join('')),
  );
  const plain = (text: string) => text.replace(/\s+/g, ' ').trim();
  const samples = fc.sample(line, { numRuns: 400, seed: 1 }).filter((text) => plain(text) !== '');
  const body = samples.flatMap((text, i) => [
    ...roff.item(roff.bold(`tag${i} ${text}`), roff.text(text)),
    '.PP',
    `end${i}`,
  ]);
  const file = path.join(directory, 'fuzz.1');
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(
    file,
    roff.page('x', 1, { date: '2026-01-01', version: '1' }, [...roff.heading('name'), 'x \\- y', ...body]),
  );
  const renderers = [
    shown(file),
    execFileSync('groff', ['-man', '-ww', '-Tutf8', '-P-cbou', '-rLL=2000n', file], {
      encoding: 'utf8',
    }).replace(/\s+/g, ' '),
  ];
  for (const rendered of renderers)
    samples.forEach((text, i) => {
      const [, found] = new RegExp(` tag${i} (.*?) end${i} `).exec(rendered) ?? [];
      assert.equal(found, `${plain(text)} ${plain(text)}`, JSON.stringify(text));
    });
});

test('no text is a request, or more than one line of ASCII', async () => {
  const { text } = await import(pathToFileURL(path.join(REPOSITORY, 'scripts/man/roff.mjs')).href);
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (plain) => {
      assert.match(text(plain), /^(?![.'])[\x20-\x7e]*$/);
    }),
    { numRuns: 2000 },
  );
});
