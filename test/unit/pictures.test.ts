/** Pictures, tables and figures in the documents are those of what was measured. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { documents } from '../pictures/documents.ts';
import { machineText, measured, readRecord } from '../pictures/record.ts';
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

test('plots and the tables of docs/benchmarks.md are made of what is recorded', () => {
  const made = documents(record);
  assert.ok(made.size >= 4);
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
  const memory = measured(record, 'memory').results[0];
  const all = `${memory?.value.toFixed(0)} MB for all processes`;
  assert.ok(text.includes(all), all);
});

test('every picture says what it shows, and is drawn for dark pages too', () => {
  const pictures = readdirSync(path.join(REPOSITORY, 'docs')).filter((name) => name.endsWith('.svg'));
  assert.ok(pictures.length >= 5);
  for (const name of pictures) {
    const text = read(`docs/${name}`);
    assert.ok(/<title id="title">[^<]+<\/title>\s*<desc id="desc">[^<]+<\/desc>/.test(text), name);
    assert.ok(text.includes('@media (prefers-color-scheme:dark)'), name);
  }
});
