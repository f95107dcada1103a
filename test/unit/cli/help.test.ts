/** Help on narrow terminals, and what is said to somebody who made a slip. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { COMMANDS } from '../../../src/cli/commands.ts';
import { distanceOf, nearest } from '../../../src/cli/near.ts';
import { formatTable } from '../../../src/cli/table.ts';
import { cut, hang, widthOf, wrap } from '../../../src/cli/width.ts';
import { runInProcess } from '../../support/cli.ts';

test('help is no wider than the terminal, and has each command and option at any width', async () => {
  const helps = [
    ['--help'],
    ['keys', '--help'],
    ...COMMANDS.map(({ name }) => [...name.split(' '), '--help']),
  ];
  for (const args of helps) {
    const whole = await runInProcess(args, { columns: 10_000 });
    const names = whole.stdout.match(/--[a-z-]+\b/g) ?? [];
    for (const columns of [60, 80, 200]) {
      const { code, stdout } = await runInProcess(args, { columns, tty: true });
      assert.equal(code, 0);
      for (const line of stdout.split('\n'))
        assert.ok(widthOf(line) <= columns, `${args} ${columns}: ${line}`);
      for (const name of names) assert.ok(stdout.includes(name), `${args} ${columns}: ${name}`);
    }
  }
});

test('help that is no terminal’s has lines as long as they are', async () => {
  const { stdout } = await runInProcess(['--help'], { columns: 20 });
  for (const { name, describe } of COMMANDS)
    assert.match(stdout, new RegExp(`^ {2}${name} +`, 'm'), describe);
  assert.ok(stdout.includes('  keys usage       list what is still wrapped by a key\n'), stdout);
});

const SLIPS: readonly (readonly [string, string])[] = [
  ['pck', 'did you mean "pack"?'],
  ['unmuont', 'did you mean "unmount"?'],
  ['umount', 'did you mean "unmount"?'],
  ['list', 'did you mean "ls"?'],
  ['delete', 'did you mean "rm"?'],
  ['key ls', 'did you mean "keys ls"?'],
  ['kesy rotaton', 'did you mean "keys rotation"?'],
  ['keys rotaton', 'did you mean "keys rotation"?'],
  ['keys disa', 'did you mean "keys disable"?'],
  ['polcy', 'did you mean "policy"?'],
  ['xyzzy', 'secretsfs --help lists the commands'],
  ['wait --timout 5s', 'did you mean --timeout?'],
  ['mount b m --fastopen', 'did you mean --fast-open?'],
  ['pack o --dry', 'did you mean --dry-run?'],
  ['mount b m --acceptkey=k', 'did you mean --accept-key?'],
  ['wait --xyzzy', 'secretsfs wait --help shows the options'],
];

test('a slip in a command or an option is answered with what was meant', async () => {
  for (const [line, hint] of SLIPS) {
    const { code, stderr } = await runInProcess(line.split(' '), { columns: 80 });
    assert.equal(code, 2, line);
    assert.equal(stderr.split('\n')[1], `secretsfs: hint: ${hint}`, line);
  }
});

test('what yargs takes as well is no slip', async () => {
  for (const line of ['pack --dryRun', 'pack --no-force']) {
    const { stderr } = await runInProcess(line.split(' '), { columns: 80 });
    assert.doesNotMatch(stderr, /unknown option/, line);
  }
});

test('what is near is near both ways, and one slip away at most as far as its letters', () => {
  const name = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '-'), maxLength: 6 });
  fc.assert(
    fc.property(name, name, (a, b) => {
      assert.equal(distanceOf(a, b), distanceOf(b, a));
      assert.equal(distanceOf(a, b) === 0, a === b);
      assert.ok(distanceOf(a, b) <= Math.max(a.length, b.length));
    }),
  );
  fc.assert(
    fc.property(fc.constantFrom(...COMMANDS.map((each) => each.name)), fc.nat(), (command, n) => {
      const at = n % (command.length - 1);
      const swapped = command.slice(0, at) + command[at + 1] + command[at] + command.slice(at + 2);
      assert.equal(distanceOf(command, swapped), swapped === command ? 0 : 1);
      assert.equal(nearest(swapped, [command]), command);
    }),
  );
});

const foreign = fc.oneof(fc.string({ maxLength: 60 }), fc.string({ unit: 'grapheme', maxLength: 30 }));

test('wrapped text fits, and is all there', () => {
  fc.assert(
    fc.property(foreign, fc.integer({ min: 2, max: 90 }), (text, columns) => {
      for (const line of hang('  label  ', text, columns + 18))
        assert.ok(widthOf(line) <= columns + 18, line);
      assert.equal(wrap(text, columns).join(' ').replaceAll(' ', ''), text.replaceAll(' ', ''));
      assert.equal(cut(text, columns).join(''), text);
      for (const line of [...wrap(text, columns), ...cut(text, columns)])
        assert.ok(widthOf(line) <= columns, line);
    }),
  );
});

test('a table fits terminals of any width, and leaves nothing out', () => {
  const rows = fc
    .integer({ min: 1, max: 8 })
    .chain((n) =>
      fc.array(fc.array(foreign, { minLength: n, maxLength: n }), { minLength: 1, maxLength: 5 }),
    );
  const letters = (texts: readonly string[]) => [...texts.join('').replace(/\s/gu, '')].sort().join('');
  fc.assert(
    fc.property(rows, fc.integer({ min: 20, max: 220 }), (table, columns) => {
      const lines = formatTable(table, columns);
      for (const line of lines) assert.ok(widthOf(line) <= columns, line);
      assert.equal(letters(lines), letters(table.flat()));
    }),
  );
});

test('a table that is too wide gets lines, not less', () => {
  const rows = [
    ['path', 'size', 'key'],
    ['web/tls/certificate.pem', '1 B', 'alias/web'],
  ];
  assert.deepEqual(formatTable(rows, 80), [
    'path                     size  key',
    'web/tls/certificate.pem  1 B   alias/web',
  ]);
  assert.deepEqual(formatTable(rows, 30), [
    'path           size  key',
    'web/tls/certi  1 B   alias/web',
    'ficate.pem',
  ]);
  assert.deepEqual(formatTable(rows, 20), [
    'path',
    '  size',
    '  key',
    'web/tls/certificate.',
    'pem',
    '  1 B',
    '  alias/web',
  ]);
});

test('cells are counted as a terminal does', () => {
  for (const [text, cells] of [
    ['abc', 3],
    ['\u00e9', 1],
    ['e\u0301', 1],
    ['\u4e2d\u6587', 4],
    ['\uff21', 2],
    ['\u{1f600}', 2],
  ] as const)
    assert.equal(widthOf(text), cells, text);
});
