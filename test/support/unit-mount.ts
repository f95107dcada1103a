/**
 * secretsfs@NAME.service as an administrator sets it up, under the systemd that runs this machine: settings, key and
 * bundle where the unit looks for them. For machines that exist for a test only: it writes to /etc and /run.
 */
import { readFileSync } from 'node:fs';
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { TestContext } from 'node:test';
import { type ArchiveEntry, writeArchive } from '../../src/bundle/archive.ts';
import { KEY, sealTest } from './bundles.ts';
import { must, type Outcome, run } from './program.ts';
import type { MountProcess } from './secret-mount.ts';

const CGROUPS = '/sys/fs/cgroup';

export class UnitMount {
  readonly name = 'web';
  readonly unit = `secretsfs@${this.name}.service`;
  readonly mountpoint = `/run/secrets/${this.name}`;
  readonly #directory = '/etc/secretsfs';
  readonly #dropIns = `/run/systemd/system/${this.unit}.d`;
  #serial = Date.now();

  private constructor() {}

  /** Not started yet. `service` is what a drop-in of it says. It is gone after the test. */
  static async create(
    t: Pick<TestContext, 'after'>,
    entries: readonly ArchiveEntry[],
    service = '',
  ): Promise<UnitMount> {
    const mount = new UnitMount();
    t.after(() => mount.#remove());
    await must('systemd-sysusers', []);
    await must('systemd-tmpfiles', ['--create', 'secretsfs.conf']);
    await mkdir(mount.mountpoint, { recursive: true });
    await chmod('/run/secrets', 0o755);
    await writeFile(`${mount.#directory}/key`, KEY, { mode: 0o400 });
    const settings = [
      `bundle: ${mount.#directory}/${mount.name}.enc`,
      `mountpoint: ${mount.mountpoint}`,
      `acceptKey: local:${mount.#directory}/key`,
      'retireAfter: 1s',
    ];
    await writeFile(`${mount.#directory}/${mount.name}.yaml`, `${settings.join('\n')}\n`);
    await mount.put(entries);
    await mkdir(mount.#dropIns, { recursive: true });
    await writeFile(`${mount.#dropIns}/test.conf`, `[Service]\nEnvironment=SECRETSFS_DEBUG=1\n${service}\n`);
    await must('systemctl', ['daemon-reload']);
    return mount;
  }

  path(name: string): string {
    return `${this.mountpoint}/${name}`;
  }

  /** Puts a bundle in place, as a copy job would. */
  async put(entries: readonly ArchiveEntry[]): Promise<void> {
    this.#serial += 1;
    await this.putRaw(await sealTest(await writeArchive(entries), { serial: this.#serial }));
  }

  async putRaw(bundle: Uint8Array): Promise<void> {
    await writeFile(`${this.#directory}/new`, bundle);
    await rename(`${this.#directory}/new`, `${this.#directory}/${this.name}.enc`);
  }

  /** systemctl VERB UNIT, insisting on success; what the unit said is in the error. */
  async systemctl(verb: string, ...more: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.trySystemctl(verb, ...more);
    if (code !== 0) throw new Error(`systemctl ${verb}: ${stderr}\n${await this.journal()}`);
    return stdout;
  }

  trySystemctl(verb: string, ...more: string[]): Promise<Outcome> {
    return run('systemctl', [verb, this.unit, ...more]);
  }

  /** systemctl show -p PROPERTY */
  async property(property: string): Promise<string> {
    return (await this.systemctl('show', '--value', '-p', property)).trim();
  }

  async supervisor(): Promise<number> {
    return Number(await this.property('MainPID'));
  }

  async processes(): Promise<MountProcess[]> {
    const [status] = JSON.parse(await must('secretsfs', ['status', this.name, '--json']));
    return status.processes;
  }

  async pidOf(role: string): Promise<number> {
    const found = (await this.processes()).find((each) => each.role === role);
    if (found === undefined) throw new Error(`there is no ${role}`);
    return found.pid;
  }

  /** A file of the unit's control group. */
  async cgroup(file: string): Promise<string> {
    return readFile(await this.cgroupPath(file), 'utf8');
  }

  async cgroupPath(file: string): Promise<string> {
    return `${CGROUPS}${await this.property('ControlGroup')}/${file}`;
  }

  async pids(): Promise<number[]> {
    return (await this.cgroup('cgroup.procs')).trim().split('\n').map(Number);
  }

  async journal(): Promise<string> {
    return (await run('journalctl', ['-u', this.unit, '-n', '60', '--no-pager', '-o', 'cat'])).stdout;
  }

  isMounted(): boolean {
    return readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${this.mountpoint} `);
  }

  async #remove(): Promise<void> {
    await this.trySystemctl('kill', '--signal=CONT');
    await this.trySystemctl('stop');
    await this.trySystemctl('reset-failed');
    if (this.isMounted()) await run('umount', ['-l', this.mountpoint]);
    await rm(this.#directory, { recursive: true, force: true });
    await rm(this.#dropIns, { recursive: true, force: true });
    await rm(`/run/systemd/system.control/${this.unit}.d`, { recursive: true, force: true });
    await must('systemctl', ['daemon-reload']);
  }
}
