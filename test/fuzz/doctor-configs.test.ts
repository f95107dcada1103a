/** Whatever is in a configuration, its reader ends and says something; and what was written so comes back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { expand } from '../../src/doctor/expand.ts';
import { certificatesOfList, filesOf, parseHaproxy, wordsOf } from '../../src/doctor/haproxy-config.ts';
import { parseNginx, readNginxConfig } from '../../src/doctor/nginx-config.ts';
import { parseUnit } from '../../src/doctor/units.ts';
import { fakeMachine } from '../support/fake-machine.ts';

/** Made of what means something to either. */
const hostile = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '{',
        '}',
        ';',
        '"',
        "'",
        '\\',
        '#',
        '\n',
        ' ',
        '$',
        '${',
        '*',
        '[',
        ']',
        '?',
        '[z-a]',
        '=',
        '\0',
      ),
      fc.constantFrom(
        'include ',
        'bind ',
        'crt ',
        'crt-list ',
        'load ',
        'x_by_lua_block ',
        '[Service]',
        '__proto__ ',
        '@a ',
      ),
      fc.string({ maxLength: 4, unit: 'grapheme' }),
    ),
    { maxLength: 40 },
  )
  .map((parts) => parts.join(''));

test('any text is read to its end, as a configuration of nginx, of haproxy and of systemd', async () => {
  await fc.assert(
    fc.asyncProperty(hostile, hostile, async (text, other) => {
      const { directives } = parseNginx(text, '/n');
      for (const { line, args } of directives) {
        assert.ok(line >= 1 && line <= text.split('\n').length);
        assert.ok(args.every((arg) => typeof arg === 'string'));
      }
      const machine = fakeMachine({ files: { '/n/a.conf': text, '/n/b.conf': other } });
      await readNginxConfig('/n/a.conf', machine);
      await expand(`/${text.replaceAll('\n', '')}`, machine);
      for (const { path, line } of filesOf(parseHaproxy(text, '/h'))) {
        assert.equal(typeof path, 'string');
        assert.ok(line <= text.split('\n').length);
      }
      certificatesOfList(text, '/m');
      for (const { key } of parseUnit(text, '/u')) assert.match(key, /^[A-Za-z]/);
    }),
    { numRuns: 2_000 },
  );
});

/** A word as nginx and haproxy both write it. */
const word = fc.string({ minLength: 1, maxLength: 12 }).filter((text) => !/[\\$\n\r\t]/.test(text));
const nginxQuoted = (text: string) => `"${text.replaceAll('"', '\\"')}"`;
type Node = { readonly name: string; readonly args: readonly string[]; readonly children?: readonly Node[] };
const { tree } = fc.letrec<{ tree: Node[]; node: Node }>((tie) => ({
  node: fc.record(
    {
      name: fc.stringMatching(/^[a-z_]{1,12}$/).filter((name) => !/include|lua_block/.test(name)),
      args: fc.array(word, { maxLength: 4 }),
      children: tie('tree'),
    },
    { requiredKeys: ['name', 'args'] },
  ),
  tree: fc.array(tie('node'), { maxLength: 4, depthIdentifier: 'blocks' }),
}));

function rendered(nodes: readonly Node[]): string {
  return nodes
    .map(({ name, args, children }) => {
      const line = [name, ...args.map(nginxQuoted)].join(' ');
      return children === undefined ? `${line}; # }` : `${line} {\n${rendered(children)}\n}`;
    })
    .join('\n');
}

function flat(nodes: readonly Node[], blocks: readonly string[] = []): unknown[] {
  return nodes.flatMap(({ name, args, children = [] }) => [
    { name, args, blocks },
    ...flat(children, [...blocks, name]),
  ]);
}

test('any tree of directives of nginx, written down, is read as that tree', () => {
  fc.assert(
    fc.property(tree, (nodes) => {
      const { directives, problems } = parseNginx(rendered(nodes), '/n');
      assert.deepEqual(problems, []);
      assert.deepEqual(
        directives.map(({ name, args, blocks }) => ({ name, args, blocks })),
        flat(nodes),
      );
    }),
    { numRuns: 500 },
  );
});

test('any words of haproxy, quoted in one of three ways, are read as these words', () => {
  const written = fc.tuple(word, fc.constantFrom('"', "'", '\\'));
  const write = ([text, how]: [string, string]) => {
    if (how === "'" && !text.includes("'")) return `'${text}'`;
    if (how === '\\') return text.replace(/[^A-Za-z0-9]/g, '\\$&');
    return `"${text.replaceAll('"', '\\"')}"`;
  };
  fc.assert(
    fc.property(fc.array(written, { maxLength: 6 }), (words) => {
      assert.deepEqual(
        wordsOf(words.map(write).join('  ')),
        words.map(([text]) => text),
      );
    }),
    { numRuns: 500 },
  );
});
