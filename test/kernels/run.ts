/**
 * The runner of scripts/test-kernels, inside the machine that is tested: each suite in turn, one line of JSON on stdout
 * for each test as it ends, and one for each suite. There is no other way out of that machine than its serial line, so
 * nothing is said only at the end. report.ts reads it.
 *
 *   run.js SUITE[/TITLE]...     names of SUITES, default all; with a pattern, only the tests whose titles match it
 */
import { existsSync } from 'node:fs';
import { release } from 'node:os';
import path from 'node:path';
import { run } from 'node:test';
import { pathToFileURL } from 'node:url';
import { REPOSITORY } from '../support/paths.ts';
import { patient } from '../support/slowness.ts';

interface Suite {
  readonly name: string;
  /** Below build/test, without ".test.js". */
  readonly files: readonly string[];
  /** Only tests whose titles match; default all. */
  readonly only?: RegExp;
  readonly env?: Readonly<Record<string, string>>;
}

const SUITES: readonly Suite[] = [
  { name: 'unit', files: ['kernels/unit'] },
  { name: 'swap', files: ['kernels/swap', 'e2e/secrecy-swap'] },
  {
    name: 'integration',
    files: ['system-calls', 'ramfs-store', 'kernel-mount', 'kernel-server', 'teller', 'children'].map(
      (file) => `integration/${file}`,
    ),
  },
  { name: 'conformance', files: ['e2e/conformance'], only: /^kernel: / },
  { name: 'kernel', files: ['e2e/kernel'] },
  {
    name: 'survival',
    files: ['e2e/survival'],
    env: { SECRETSFS_TEST_KILLS: '6' },
  },
];

/** A test that takes longer hangs. Nothing here takes half a minute on an ordinary machine. */
const TEST_MS_MAX = patient(60_000);

/** One line of the serial line. */
export interface Line {
  readonly kernel: string;
  readonly suite: string;
  /** Undefined: the end of the suite. */
  readonly test?: string;
  readonly ok: boolean;
  readonly ms: number;
  readonly why?: string;
}

function say(line: Omit<Line, 'kernel'>): void {
  process.stdout.write(`${JSON.stringify({ kernel: release(), ...line })}\n`);
}

async function runSuite({ name, files, only, env = {} }: Suite): Promise<void> {
  const paths = files.map((file) => path.join(REPOSITORY, 'build/test', `${file}.test.js`));
  const missing = paths.filter((file) => !existsSync(file));
  if (missing.length > 0) throw new Error(`${missing.join(' and ')}: not in this machine`);
  Object.assign(process.env, env);
  const started = performance.now();
  let [passed, failed] = [0, 0];
  const events = run({
    files: paths,
    concurrency: 1,
    timeout: TEST_MS_MAX,
    ...(only === undefined ? {} : { testNamePatterns: [only] }),
  });
  for await (const { type, data } of events) {
    if (type === 'test:stderr' || type === 'test:diagnostic') {
      process.stderr.write(`${data.message.trimEnd()}\n`);
    }
    if ((type !== 'test:pass' && type !== 'test:fail') || data.nesting > 0) continue;
    // What the pattern leaves out is told as skipped.
    if (only?.test(data.name) === false && type === 'test:pass') continue;
    const ok = type === 'test:pass' && data.skip === undefined && data.todo === undefined;
    const ms = Math.round(data.details.duration_ms);
    if (ok) passed += 1;
    else failed += 1;
    const why = ok ? {} : { why: type === 'test:fail' ? reason(data.details.error) : 'it did not run' };
    say({ suite: name, test: data.name, ok, ms, ...why });
  }
  say({ suite: name, ok: failed === 0 && passed > 0, ms: Math.round(performance.now() - started) });
}

function reason(error: Error): string {
  const cause = error.cause instanceof Error ? error.cause : error;
  return (cause.stack ?? cause.message).slice(0, 4000);
}

async function main(names: readonly string[]): Promise<void> {
  const chosen = names.map((name) => {
    const [, wanted, title] = /^([^/]*)(?:\/(.+))?$/.exec(name) ?? [];
    const suite = SUITES.find((each) => each.name === wanted);
    if (suite === undefined) throw new Error(`there is no suite ${wanted}`);
    return title === undefined ? suite : { ...suite, only: new RegExp(title) };
  });
  for (const suite of names.length === 0 ? SUITES : chosen) await runSuite(suite);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main(process.argv.slice(2));
