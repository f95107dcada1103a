/** A mount of several bundles in the processes of a real one: their bundles, its config, and what it says of each. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import type { TestContext } from 'node:test';
import { type ArchiveEntry, writeArchive } from '../../src/bundle/archive.ts';
import type { PartStatus, Status } from '../../src/control/protocol.ts';
import { localKeyring } from '../../src/keyring/local.ts';
import { KEY, sealTest } from './bundles.ts';
import { file } from './entries.ts';
import { Bench, type Daemon, eventually, run } from './program.ts';
import { rootDirectory } from './root-directory.ts';

export const OTHER_KEY = randomBytes(32);

export interface Sealing {
  readonly name: string;
  readonly serial: number;
  readonly key?: Buffer;
  readonly entries?: readonly ArchiveEntry[];
}

export async function sealed({ name, serial, key = KEY, entries = [] }: Sealing): Promise<Buffer> {
  const all = [file('serial', `${name} ${serial}`), ...entries];
  return sealTest(await writeArchive(all), { name, serial, keyring: localKeyring(key).keyring });
}

export class Several {
  readonly bench: Bench;
  /** Where root alone may write: its config is there. */
  readonly etc: string;
  readonly #config: string;

  constructor(bench: Bench, etc: string) {
    this.bench = bench;
    this.etc = etc;
    this.#config = `${etc}/web.yaml`;
  }

  static async create(t: TestContext, env?: NodeJS.ProcessEnv): Promise<Several> {
    const bench = await Bench.create(t, ...(env === undefined ? [] : [env]));
    await writeFile(bench.path('key'), KEY, { mode: 0o400 });
    await writeFile(bench.path('app.key'), OTHER_KEY, { mode: 0o400 });
    await mkdir(bench.path('mnt'));
    // Where the agent may look, it looks against what is known.
    await chmod(bench.directory, 0o755);
    bench.after(() => run('umount', ['-l', bench.path('mnt')]));
    return new Several(bench, await rootDirectory(bench));
  }

  /** In place of what is there, at once. */
  async put(part: string, sealing: Partial<Sealing> & { readonly serial: number }): Promise<void> {
    const key = part === 'app' ? OTHER_KEY : KEY;
    await this.write(part, await sealed({ name: part, key, ...sealing }));
  }

  async write(part: string, bytes: Uint8Array): Promise<void> {
    await writeFile(this.bench.path(`${part}.new`), bytes);
    await rename(this.bench.path(`${part}.new`), this.bench.path(`${part}.sfs`));
  }

  async mount(mounts: string, rest = ''): Promise<Daemon> {
    const daemon = await this.begin(mounts, rest);
    await daemon.event('ready');
    return daemon;
  }

  /** In place of what is there, at once. */
  async configure(mounts: string, rest = ''): Promise<void> {
    const config = `mountpoint: mnt\ninstance: web\ndriver: kernel\n${rest}mounts:\n${mounts}`;
    await writeFile(`${this.#config}.new`, config);
    await rename(`${this.#config}.new`, this.#config);
  }

  async begin(mounts: string, rest = ''): Promise<Daemon> {
    await this.configure(mounts, `poll: 1s\n${rest}`);
    return this.bench.startMount(['--config', this.#config]);
  }

  read(...path: string[]): Promise<string> {
    return readFile(this.bench.path('mnt', ...path), 'utf8');
  }

  async status(): Promise<Status> {
    const [status] = JSON.parse(await this.bench.must(['status', '--json']));
    return status;
  }

  async part(directory: string): Promise<PartStatus> {
    const part = (await this.status()).parts?.find((each) => each.directory === directory);
    assert.ok(part !== undefined, directory);
    return part;
  }

  /** Waits until it is served. */
  serves(part: string, serial: number): Promise<void> {
    return eventually(async () => assert.equal(await this.read(part, 'serial'), `${part} ${serial}`));
  }
}

export const TLS = '  tls: { source: tls.sfs, key: local:key }\n';
export const APP = '  app: { source: app.sfs, key: local:app.key }\n';
