/**
 * scripts/bench: prints a table, and writes the same as JSON. A benchmark that fails is reported, and the others go on.
 * Exits 1 where one failed, 3 where all ran and a target was missed.
 *
 *   node main.js [--json FILE] [--record] [NAME...]    NAME is one of the benchmarks below; default all
 *
 * --record puts what succeeded into docs/benchmarks.json as well, in place of what is there.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { machineText, record } from '../pictures/record.ts';
import { REPOSITORY } from '../support/paths.ts';
import { activation } from './activation.ts';
import { cold } from './cold.ts';
import { fleet } from './fleet/main.ts';
import { latency } from './latency.ts';
import { listing } from './listing.ts';
import { type Benchmark, type Result, Scope } from './measure.ts';
import { memory } from './memory.ts';
import { nginx } from './nginx.ts';
import { busyFraction, PLACEMENT_KEY } from './processes.ts';
import { ready } from './ready.ts';
import { rotateStore } from './rotate-store.ts';
import { rotation } from './rotation.ts';
import { sealing } from './sealing.ts';
import { sequential } from './sequential.ts';
import { stall } from './stall.ts';
import { headings, row } from './table.ts';

const BENCHMARKS: readonly Benchmark[] = [
  latency,
  sequential,
  cold,
  nginx,
  ready,
  memory,
  activation,
  rotation,
  stall,
  sealing,
  listing,
  rotateStore,
  fleet,
];
const EXIT_FAILED = 1;
const EXIT_MISSED = 3;
/** How long, before each benchmark, the machine is watched for what else it does. */
const WATCH_MS = 1_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'string', default: path.join(REPOSITORY, 'build', 'bench.json') },
    record: { type: 'boolean', default: false },
  },
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
  kernel: release().split('-')[0] ?? '',
  node: process.version,
};
console.log(`${machineText(machine)}\n${PLACEMENT_KEY}\n\n${headings()}`);

let scope = new Scope();
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    interrupted = true;
    void scope.end().then(() => process.exit(130));
  });
}
const results: (Result & { readonly benchmark: string })[] = [];
/** What fraction of the machine's time others used just before. */
const busyBefore: Record<string, number> = {};
const failed: { readonly benchmark: string; readonly error: string }[] = [];
for (const { name: benchmark, run } of chosen) {
  scope = new Scope();
  try {
    busyBefore[benchmark] = await busyFraction(WATCH_MS);
    for (const result of await run(scope)) {
      results.push({ benchmark, ...result });
      console.log(row(result));
    }
  } catch (error) {
    // Ctrl-C reaches the children too: that they ended is no news.
    if (!interrupted) {
      failed.push({ benchmark, error: String(error) });
      console.error(`${benchmark} failed: ${error instanceof Error ? error.stack : error}`);
    }
  } finally {
    await scope.end();
  }
  if (interrupted) break;
}

await mkdir(path.dirname(values.json), { recursive: true });
await writeFile(
  values.json,
  `${JSON.stringify({ machine, placements: PLACEMENT_KEY, busyBefore, results, failed }, null, 2)}\n`,
);
if (values.record) {
  for (const { name } of chosen) {
    const run = results.flatMap(({ benchmark, ...result }) => (benchmark === name ? [result] : []));
    if (run.length === 0) continue;
    record(name, { machine, busyBefore: busyBefore[name] ?? 0, results: run });
  }
}
const busy = Object.entries(busyBefore).map(([name, part]) => `${name} ${(100 * part).toFixed(0)} %`);
console.log(`\nCPU time used by others just before: ${busy.join(', ')}\nwritten to ${values.json}`);
const missed = results.filter(({ targets }) => targets?.some(({ met }) => !met)).length;
if (missed > 0) console.log(`${missed} of ${results.length} figures miss their target`);
if (failed.length > 0) process.exitCode = EXIT_FAILED;
else if (missed > 0) process.exitCode ??= EXIT_MISSED;
