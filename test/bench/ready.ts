/** From exec to a served mount of 100 files, by local key and by S3 and KMS; the floor is Node itself. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { awsEnv, createBucket, createKey, startMoto } from '../support/moto.ts';
import { PROGRAM } from '../support/paths.ts';
import { Bench, Daemon, type LogLine, must } from '../support/program.ts';
import { type Benchmark, interleaved, median, type Result, type Scope, timed } from './measure.ts';

const FILES = 100;
const FILE_BYTES = 2000;
const RUNS = 9;
/** What ends each phase, and what the phase is called. */
const PHASES = [
  ['starting', 'loading and checks'],
  ['activated', 'fetching and opening'],
  ['ready', 'mounting'],
] as const;

export const ready: Benchmark = {
  name: 'ready',
  async run(scope) {
    const moto = await startMoto();
    scope.after(() => moto.stop());
    const local = await Bench.create(scope);
    const remote = await Bench.create(scope, awsEnv(moto.url));
    await mkdir(local.path('dir'));
    for (let i = 0; i < FILES; i++) await writeFile(local.path('dir', `file-${i}`), randomBytes(FILE_BYTES));
    await mkdir(local.path('mnt'));
    await mkdir(remote.path('mnt'));
    await local.must(['keygen', 'key']);
    await local.must(['pack', '--dir', 'dir', '--key', 'local:key', 'web.enc']);
    const url = `s3://${await createBucket(moto.url)}/web.enc`;
    const key = await createKey(moto.url);
    const style = '--force-path-style';
    await remote.must(['pack', '--dir', local.path('dir'), '--key', key, style, url]);

    const localMount = new MountTimer(scope, local, ['web.enc', 'mnt', '--key', 'local:key']);
    const remoteMount = new MountTimer(scope, remote, [url, 'mnt', '--key', key, style]);
    const ms = await interleaved(RUNS, {
      node: () => timed(() => must(process.execPath, ['-e', '0'])),
      version: () => timed(() => must(process.execPath, [PROGRAM, 'version'])),
      status: () => timed(() => local.must(['status'])),
      local: () => localMount.run(),
      remote: () => remoteMount.run(),
    });
    const result = (name: string, took: number, note?: string): Result => ({
      name,
      median: took,
      unit: 'ms',
      runs: RUNS,
      ratio: { value: took / ms.node, to: 'node -e 0' },
      ...(note === undefined ? {} : { note }),
    });
    return [
      result('node -e 0', ms.node),
      result('secretsfs version', ms.version),
      result('secretsfs status', ms.status),
      result(`mount to ready, ${FILES} files, local key`, ms.local, localMount.phases()),
      result(`mount to ready, ${FILES} files, S3 and KMS`, ms.remote, remoteMount.phases()),
    ];
  },
};

/** Mounts, takes the time until it is ready, unmounts. */
class MountTimer {
  readonly #scope: Scope;
  readonly #bench: Bench;
  readonly #args: readonly string[];
  readonly #phases = PHASES.map((): number[] => []);

  constructor(scope: Scope, bench: Bench, args: readonly string[]) {
    this.#scope = scope;
    this.#bench = bench;
    this.#args = args;
  }

  async run(): Promise<number> {
    const { directory: cwd, env } = this.#bench;
    const startedMs = Date.now();
    const start = performance.now();
    const child = spawn(process.execPath, [PROGRAM, 'mount', ...this.#args], {
      cwd,
      env,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const daemon = new Daemon(child);
    this.#scope.after(() => daemon.stop());
    await daemon.event('ready');
    const took = performance.now() - start;
    this.#note(daemon.lines, startedMs);
    await daemon.stop();
    return took;
  }

  #note(lines: readonly LogLine[], startedMs: number): void {
    let before = startedMs;
    for (const [i, [event]] of PHASES.entries()) {
      const at = Date.parse(String(lines.find((line) => line.event === event)?.['time']));
      this.#phases[i]?.push(at - before);
      before = at;
    }
  }

  phases(): string {
    return PHASES.map(([, what], i) => `${what} ${median(this.#phases[i] ?? [])}`).join(', ');
  }
}
