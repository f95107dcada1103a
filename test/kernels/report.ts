/**
 * What run.ts said, as tables in Markdown: one row for each test and kernel, and one for each suite. Ends with 1 where a
 * test failed, or a suite that should have come to its end did not.
 *
 *   report.js SUITES FILE...     SUITES: names with commas between them; FILE: what a machine said
 */
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { Line } from './run.ts';

function parse(file: string): Line[] {
  const lines: Line[] = [];
  for (const text of readFileSync(file, 'utf8').split(/\r?\n/)) {
    if (!text.startsWith('{"kernel"')) continue;
    try {
      lines.push(JSON.parse(text) as Line);
    } catch {
      // The machine ended in the middle of it: the end of the suite is missing, too.
    }
  }
  return lines;
}

function main([suites = '', ...files]: readonly string[]): number {
  const rows = ['| kernel | suite | test | result | seconds |', '|---|---|---|---|---|'];
  const totals = ['| kernel | suite | passed | failed | seconds |', '|---|---|---|---|---|'];
  const problems: string[] = [];
  for (const file of files) {
    const lines = parse(file);
    const kernel = lines[0]?.kernel ?? `none (${file})`;
    for (const suite of suites.split(',')) {
      const of = lines.filter((line) => line.suite === suite);
      const tests = of.filter((line) => line.test !== undefined);
      for (const { test = '', ok, ms, why } of tests) {
        const title = test.replaceAll('|', '\\|');
        rows.push(`| ${kernel} | ${suite} | ${title} | ${ok ? 'passed' : 'FAILED'} | ${seconds(ms)} |`);
        if (!ok) problems.push(`${kernel}, ${suite}: ${test}\n${why ?? ''}`);
      }
      const end = of.find((line) => line.test === undefined);
      if (end === undefined) problems.push(`${kernel}, ${suite}: it did not come to its end`);
      else if (tests.length === 0) problems.push(`${kernel}, ${suite}: it has no test`);
      const passed = tests.filter(({ ok }) => ok).length;
      const took = end === undefined ? '-' : seconds(end.ms);
      totals.push(`| ${kernel} | ${suite} | ${passed} | ${tests.length - passed} | ${took} |`);
    }
  }
  process.stdout.write(`${[...rows, '', ...totals].join('\n')}\n`);
  for (const problem of problems) process.stderr.write(`\n${problem}\n`);
  return problems.length === 0 ? 0 : 1;
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  process.exitCode = main(process.argv.slice(2));
}
