/** Pictures, tables and figures in the documents are those of what was measured, and of what the demo printed. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { documents } from '../pictures/documents.ts';
import { machineText, measured, readRecord } from '../pictures/record.ts';
import { linesOf, shorten, terminal } from '../pictures/transcript.ts';
import { REPOSITORY } from '../support/paths.ts';

const read = (file: string) => readFileSync(path.join(REPOSITORY, file), 'utf8');
const record = readRecord();

function figure(benchmark: string, name: string, placement?: string): string {
  const found = measured(record, benchmark).results.filter(
    (result) => result.name === name && result.placement === placement,
  );
  assert.equal(found.length, 1, name);
  return String(Math.round(found[0]?.value ?? Number.NaN));
}

test('plots, the picture of the demo and the tables of docs/benchmarks.md are made of what is recorded', () => {
  const made = documents(record);
  assert.ok(made.size >= 5);
  for (const [file, text] of made)
    assert.ok(readFileSync(file, 'utf8') === text, `${file} is another: run scripts/pictures`);
});

test('docs/benchmarks.md has every benchmark that is recorded, and the machine', () => {
  const text = read('docs/benchmarks.md');
  for (const [benchmark, { machine }] of Object.entries(record)) {
    assert.ok(text.includes(`<!-- bench: ${benchmark} -->\n| what |`), benchmark);
    assert.ok(text.includes(machineText(machine)), benchmark);
  }
});

test('README.md states figures that are recorded', () => {
  const text = read('README.md');
  const open = (what: string) => figure('latency', `open, read 4 KiB: ${what}`, 'pinned');
  const times = `open, read and close of 4 KiB take ${open('secretsfs')} µs where ramfs takes ${open('ramfs')}; with \`--fast-open\` ${open('secretsfs --fast-open')} `;
  assert.ok(text.includes(times), times);
  const row = `| open, read and close of 4 KiB | ${open('tmpfs')} µs | ${open('ramfs')} µs | ${open('secretsfs')} µs; with \`--fast-open\` ${open('secretsfs --fast-open')} |`;
  assert.ok(text.includes(row), row);
  const memory = measured(record, 'memory').results[0];
  const stated = [...text.matchAll(/(\d+) MB(?= for all processes|;)/g)].map(([, megabytes]) => megabytes);
  assert.deepEqual(
    stated,
    [memory, memory].map((result) => result?.value.toFixed(0)),
  );
});

test('docs/demo.txt is of the demo as it is now', () => {
  const headings = [...read('scripts/demo').matchAll(/^say "(.*)"$/gm)].map(([, text]) => `== ${text}`);
  assert.ok(headings.length > 5);
  const recorded = linesOf(read('docs/demo.txt'));
  const printed = recorded.flatMap(({ kind, text }) => (kind === 'heading' ? [text] : []));
  assert.deepEqual(printed.slice(-headings.length), headings);
  assert.match(read('docs/demo.txt'), /^meanwhile: \d+ reads, 0 failed$/m);
});

test('the picture of the demo shows headings, commands and answers, without what is left out', () => {
  const lines = shorten(
    linesOf(
      '\u001b[1m== first\u001b[0m\n\u001b[36m$ rm -rf secrets\u001b[0m\n' +
        '\u001b[1m== second\u001b[0m\n\u001b[36m$ secretsfs wait web --timeout 20\u001b[0m\nweb: ready\n' +
        '\u001b[36m$ cat /tmp/secretsfs-demo.Mmi6FB/mnt/a\u001b[0m\na <b> & c\n',
    ),
  );
  assert.deepEqual(lines, [
    { kind: 'heading', text: '== second' },
    { kind: 'command', text: '$ cat /tmp/demo/mnt/a' },
    { kind: 'output', text: 'a <b> & c' },
  ]);
});

test('what a program prints never becomes markup in the picture of it', () => {
  const text = fc.string({ unit: 'grapheme-ascii' });
  fc.assert(
    fc.property(fc.array(text, { minLength: 1 }), (lines) => {
      const picture = terminal(lines.map((line) => `> ${line}`).join('\n'));
      const shown = [...picture.matchAll(/<text [^>]*class="output"[^>]*>([^<]*)<\/text>/g)].map(
        ([, inner = '']) =>
          inner
            .replaceAll('&lt;', '<')
            .replaceAll('&gt;', '>')
            .replaceAll('&quot;', '"')
            .replaceAll('&amp;', '&'),
      );
      assert.deepEqual(
        shown,
        linesOf(lines.map((line) => `> ${line}`).join('\n')).map((line) => line.text),
      );
    }),
  );
  for (const control of ['\u001b[31mred\u001b[0m', 'a\rb', '\u0007', '\u009b31m']) {
    assert.throws(() => linesOf(control), /not plain text/, JSON.stringify(control));
  }
});

test('every picture says what it shows, and is drawn for dark pages too', () => {
  const pictures = readdirSync(path.join(REPOSITORY, 'docs')).filter((name) => name.endsWith('.svg'));
  assert.ok(pictures.length >= 6);
  for (const name of pictures) {
    const text = read(`docs/${name}`);
    assert.ok(/<title id="title">[^<]+<\/title>\s*<desc id="desc">[^<]+<\/desc>/.test(text), name);
    assert.ok(text.includes('@media (prefers-color-scheme:dark)'), name);
  }
});
