import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { dotenvProblem } from '../../../src/checks/dotenv.ts';
import { jsonProblem } from '../../../src/checks/json.ts';
import type { FormatProblem } from '../../../src/checks/text.ts';
import { YAML_BYTES_MAX, yamlProblem } from '../../../src/checks/yaml.ts';

const CANARY = 'c4n4ry5ecret';
const CHECKS = { json: jsonProblem, yaml: yamlProblem, dotenv: dotenvProblem };

function line(problem: FormatProblem | undefined): string {
  if (problem === undefined) return 'accepted';
  const { line, column, expected, found } = problem;
  return `${line}:${column} want ${expected}, found ${found}`;
}

test('JSON is taken and refused as JSON.parse() does', () => {
  const mutated = fc
    .tuple(
      fc.json(),
      fc.nat(),
      fc.constantFrom('', '"', ',', '}', ']', '\\', '1', '.', 'e', '-', ' ', '\n', '\u0001'),
    )
    .map(
      ([json, at, put]) =>
        json.slice(0, at % (json.length + 1)) + put + json.slice((at % (json.length + 1)) + 1),
    );
  const any = fc.oneof(
    fc.json(),
    mutated,
    fc.string({ unit: fc.constantFrom(...'{}[]",:0123.eE+-truefalsn \n\\u') }),
  );
  fc.assert(
    fc.property(any, (text) => {
      let isJson = true;
      try {
        JSON.parse(text);
      } catch {
        isJson = false;
      }
      assert.equal(
        jsonProblem(Buffer.from(text)) === undefined,
        isJson,
        line(jsonProblem(Buffer.from(text))),
      );
    }),
    { numRuns: 3000 },
  );
});

test('what is wrong is said with its line and column', () => {
  const wrong: [keyof typeof CHECKS, string | Buffer, string][] = [
    ['json', '', '1:1 want a value, found the end of the file'],
    ['json', '{\n  "a": 1,\n}', '3:1 want a name in double quotes, found something else'],
    ['json', '{"a" 1}', '1:6 want a colon, found something else'],
    ['json', '[1 2]', '1:4 want a comma or ], found something else'],
    ['json', '{"a":1', '1:7 want a comma or }, found the end of the file'],
    ['json', '{"a":1} x', '1:9 want the end of the file, found something else'],
    ['json', "{'a':1}", '1:2 want a name in double quotes, or }, found something else'],
    ['json', '"a\nb"', '1:3 want no control character in a string, found something else'],
    ['json', '"\\x"', '1:3 want an escape that JSON knows, found something else'],
    ['json', '"\\u12', '1:6 want four hexadecimal digits, found the end of the file'],
    ['json', '01', '1:2 want the end of the file, found something else'],
    ['json', '[1.]', '1:4 want a digit, found something else'],
    ['json', '[NaN]', '1:2 want a value, found something else'],
    ['json', '"open', '1:6 want the end of a string, found the end of the file'],
    ['json', '\ufeff{}', '1:1 want no byte order mark, found one'],
    ['json', Buffer.from([0x22, 0xff, 0x22]), '1:1 want UTF-8, found bytes that are not'],
    ['json', `${'['.repeat(600)}${']'.repeat(600)}`, '1:513 want at most 512 levels, found something else'],
    ['yaml', 'a: 1\n b: 2\n', '1:4 want a key on one line, found something else'],
    ['yaml', 'a: [1, 2\n', '2:1 want lines that are indented alike, found something else'],
    [
      'yaml',
      'a: "x\nb: 1',
      '2:5 want a character that YAML needs here, such as a quote, a comma or a space, found something else',
    ],
    ['yaml', '- a\nb: 1\n', '2:1 want what YAML allows there, found something else'],
    ['yaml', 'a: 1\na: 2\n', '2:1 want a key that is there once, found something else'],
    ['yaml', 'a:\n\t- b\n', '2:1 want spaces for indentation, found something else'],
    ['yaml', 'a: 1\n---\nb: {\n', '4:1 want lines that are indented alike, found something else'],
    ['yaml', 'a: \u0000', '1:4 want text, found a NUL'],
    ['dotenv', 'A=1\nB\n', '2:2 want = after a name, found the end of the line'],
    ['dotenv', 'A=1\nB', '2:2 want = after a name, found the end of the file'],
    ['dotenv', '1A=2', '1:1 want a name, found something else'],
    ['dotenv', '=2', '1:1 want a name, found something else'],
    ['dotenv', 'export \n', '1:8 want a name, found the end of the line'],
    ['dotenv', 'A="x\nB=1\n', '1:3 want a quote that is closed, found the end of the file'],
    ['dotenv', "A='x'y\n", '1:6 want the end of the line after a quote is closed, found something else'],
    ['dotenv', 'A B=1', '1:3 want = after a name, found something else'],
  ];
  for (const [format, text, wanted] of wrong) {
    assert.equal(
      line(CHECKS[format](Buffer.from(text))),
      wanted,
      `${format} ${JSON.stringify(text.toString().slice(0, 40))}`,
    );
  }
  const large = Buffer.alloc(YAML_BYTES_MAX + 1, '# \n');
  assert.equal(
    line(yamlProblem(large)),
    `1:1 want at most ${YAML_BYTES_MAX} bytes, found ${YAML_BYTES_MAX + 1}`,
  );
});

test('what is right is taken', () => {
  const right: [keyof typeof CHECKS, string][] = [
    ['json', ' {"a":[1,-0.5e+3,"\\u00e4ö",true,false,null,{}],"b":[]} \r\n'],
    ['json', 'null'],
    ['yaml', ''],
    ['yaml', 'a: 1\nb:\n  - x\n  - {y: 2}\n---\nc: |\n  text\n  more\n'],
    ['yaml', '{"json": [1, 2]}\r\n'],
    ['yaml', 'a: &x 1\nb: *x\nc: !custom 5\n'],
    [
      'dotenv',
      '# comment\n\nA=1\r\nexport B = two words # c\nC="line\nline \\" x" # c\nD=\nE.f-g=\'a"b\'\nexport=1\n',
    ],
    ['dotenv', ''],
  ];
  for (const [format, text] of right) assert.equal(line(CHECKS[format](Buffer.from(text))), 'accepted', text);
});

test('no check throws, nor says anything of what it read', () => {
  const text = fc.string({ unit: fc.constantFrom(...'{}[]",:\'=\n\t #&*!|>-%@`a1\\', CANARY) });
  fc.assert(
    fc.property(fc.oneof(text, fc.uint8Array({ maxLength: 200 })), (content) => {
      for (const check of Object.values(CHECKS)) {
        const problem = check(Buffer.from(content as string));
        assert.ok(!JSON.stringify(problem ?? '').includes(CANARY));
      }
    }),
    { numRuns: 1000 },
  );
  for (const bomb of [
    '['.repeat(20_000),
    '{a: '.repeat(9_000),
    '- '.repeat(20_000),
    '&a [*a, '.repeat(2_000),
  ]) {
    for (const [name, check] of Object.entries(CHECKS))
      assert.notEqual(check(Buffer.from(bomb)), undefined, name);
  }
});
