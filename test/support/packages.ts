/** Packages as scripts/package makes them, hardly compressed, of versions that exist for a test only. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { REPOSITORY } from './paths.ts';
import { must } from './program.ts';
import { patient } from './slowness.ts';

/** Of all that is packed here. */
const EPOCH = '1700000000';
const MS_MAX = patient(180_000);

export class Packages {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async create(): Promise<Packages> {
    return new Packages(await mkdtemp(path.join(tmpdir(), 'packages-')));
  }

  path(...names: string[]): string {
    return path.join(this.directory, ...names);
  }

  /** scripts/build.mjs into `name`. */
  async build(version: string, name: string): Promise<void> {
    const build = path.join(REPOSITORY, 'scripts/build.mjs');
    const env = {
      ...process.env,
      SECRETSFS_VERSION: version,
      SECRETSFS_DIST: this.path(name),
      SOURCE_DATE_EPOCH: EPOCH,
    };
    await must(process.execPath, [build], { env, timeoutMs: MS_MAX });
  }

  /** scripts/package ARGS... into `out`; the program is built for it unless --dist is among them. */
  async make(version: string, out: string, args: readonly string[]): Promise<void> {
    const env = { ...process.env, SECRETSFS_VERSION: version, SOURCE_DATE_EPOCH: EPOCH };
    const script = path.join(REPOSITORY, 'scripts/package');
    await must(script, ['--quick', '--out', this.path(out), ...args], { env, timeoutMs: MS_MAX });
  }

  async remove(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}
