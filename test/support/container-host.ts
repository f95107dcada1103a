/** The host of docs/containers.md: mounts below one directory on a shared mount, for containers to bind. */
import { chmod, mkdir, mkdtemp, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { type ArchiveEntry, writeArchive } from '../../src/bundle/archive.ts';
import { KEY, sealTest } from './bundles.ts';
import { Bench, type Daemon, must } from './program.ts';
import { rootDirectory } from './root-directory.ts';

export class ContainerHost {
  readonly bench: Bench;
  /** Of root alone: the configs, and programs of hooks. */
  readonly etc: string;
  /** What the document calls /srv/secrets. */
  readonly above: string;
  #serial = Date.now();

  private constructor(bench: Bench, etc: string, above: string) {
    this.bench = bench;
    this.etc = etc;
    this.above = above;
  }

  /** `shared`: a directory on a shared mount, where there is one already. */
  static async create(t: TestContext, shared?: string): Promise<ContainerHost> {
    const bench = await Bench.create(t);
    await chmod(bench.directory, 0o711);
    await writeFile(bench.path('key'), KEY, { mode: 0o400 });
    const above = await mkdtemp(path.join(shared ?? (await sharedMount(bench)), 'secrets-'));
    await chmod(above, 0o755);
    return new ContainerHost(bench, await rootDirectory(t), above);
  }

  mountpoint(name: string): string {
    return path.join(this.above, name);
  }

  /** A bundle of these entries, and a mount of it that is ready. */
  async mount(
    name: string,
    entries: readonly ArchiveEntry[],
    settings: Readonly<Record<string, unknown>> = {},
  ): Promise<Daemon> {
    await mkdir(this.mountpoint(name), { recursive: true });
    await this.#put(name, entries);
    const config = path.join(this.etc, `${name}.yaml`);
    const all = {
      bundle: this.bench.path(`${name}.enc`),
      mountpoint: this.mountpoint(name),
      key: `local:${this.bench.path('key')}`,
      driver: 'kernel',
      ...settings,
    };
    // YAML takes JSON.
    await writeFile(config, JSON.stringify(all));
    return this.bench.mount(['--config', config]);
  }

  /** The next generation is live when it returns. */
  async rotate(name: string, daemon: Daemon, entries: readonly ArchiveEntry[]): Promise<void> {
    const before = daemon.count('activated');
    await this.#put(name, entries);
    await daemon.event('activated', before + 1);
  }

  async #put(name: string, entries: readonly ArchiveEntry[]): Promise<void> {
    this.#serial += 1;
    const bundle = await sealTest(await writeArchive(entries), { serial: this.#serial, name });
    await writeFile(this.bench.path('new'), bundle);
    await rename(this.bench.path('new'), this.bench.path(`${name}.enc`));
  }
}

/** A directory with a mount of its own that is shared, as all of a host is under systemd; gone with the bench. */
export async function sharedMount(bench: Bench): Promise<string> {
  const directory = bench.path('srv');
  await mkdir(directory);
  await must('mount', ['-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', directory]);
  bench.after(() => must('umount', ['-l', directory]));
  await must('mount', ['--make-shared', directory]);
  return directory;
}
