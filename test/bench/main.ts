/**
 * npm run bench: prints a table, and writes the same as JSON. Exits 1 where a ratio misses what it must reach.
 *
 *   node main.js [--json FILE] [NAME...]    NAME is one of the benchmarks below; default all
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, loadavg, release, totalmem } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { REPOSITORY } from '../support/paths.ts';
import { latency } from './latency.ts';
import { type Benchmark, type Result, Scope } from './measure.ts';
import { ready } from './ready.ts';
import { sealing } from './sealing.ts';

const BENCHMARKS: readonly Benchmark[] = [sealing, ready, latency];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string', default: path.join(REPOSITORY, 'build', 'bench.json') } },
});
const chosen = BENCHMARKS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
const unknown = positionals.find((name) => !BENCHMARKS.some((benchmark) => benchmark.name === name));
if (unknown !== undefined) {
  console.error(`no benchmark is called ${unknown}: ${BENCHMARKS.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

const machine = {
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  cpus: cpus().length,
  memoryBytes: totalmem(),
  kernel: release(),
  node: process.version,
  placement: 'unpinned, except where a line says otherwise',
  loadAverage: loadavg()[0],
};
console.log(
  `${machine.cpus} × ${machine.cpu}, ${(machine.memoryBytes / 2 ** 30).toFixed(1)} GiB, ` +
    `Linux ${machine.kernel}, Node ${machine.node}, load ${machine.loadAverage?.toFixed(2)}; ${machine.placement}`,
);

let scope = new Scope();
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    interrupted = true;
    void scope.end().then(() => process.exit(130));
  });
}
const results: (Result & { readonly benchmark: string })[] = [];
for (const benchmark of chosen) {
  scope = new Scope();
  try {
    for (const result of await benchmark.run(scope)) {
      results.push({ benchmark: benchmark.name, ...result });
      console.log(line(result));
    }
  } catch (error) {
    // Ctrl-C reaches the children too: that they ended is no news.
    if (!interrupted) throw error;
  } finally {
    await scope.end();
  }
  if (interrupted) break;
}

await mkdir(path.dirname(values.json), { recursive: true });
await writeFile(values.json, `${JSON.stringify({ machine, results }, null, 2)}\n`);
console.log(`written to ${values.json}`);
for (const { name, ratio } of results) {
  if (ratio?.atLeast === undefined || ratio.value >= ratio.atLeast) continue;
  console.error(`${name}: ${ratio.value.toFixed(2)} × ${ratio.to}, want at least ${ratio.atLeast}`);
  process.exitCode = 1;
}

function line({ name, median, unit, runs, ratio, note }: Result): string {
  const figure = `${median.toFixed(unit === 'µs' ? 1 : 0).padStart(7)} ${unit.padEnd(4)}`;
  const against = ratio === undefined ? '' : `${ratio.value.toFixed(2).padStart(7)} × ${ratio.to}`;
  const required = ratio?.atLeast === undefined ? '' : ` (want ${ratio.atLeast})`;
  const text = `${name.padEnd(62)}${figure}${`${against}${required}`.padEnd(36)}median of ${runs}`;
  return note === undefined ? text : `${text}\n    of which, in ms: ${note}`;
}
