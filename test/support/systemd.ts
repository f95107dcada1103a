/**
 * A systemd of its own, process 1 of a container over the files of this machine (systemd-boot.sh), with the unit of this
 * repository installed. What is written there is in memory, and gone with it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { REPOSITORY } from './paths.ts';
import { eventually, must, type Outcome, run } from './program.ts';
import { patient } from './slowness.ts';

const NAMESPACES = ['--mount', '--pid', '--fork', '--kill-child', '--uts', '--ipc', '--net'];
const BOOT = path.join(REPOSITORY, 'test/support/systemd-boot.sh');
/** Control groups outlive who was in them. */
const REMOVE_GROUPS = 'mount -t cgroup2 cgroup2 "$1" && find "$1/$2" -depth -type d -delete';
const INSTALLED: readonly (readonly [string, string])[] = [
  ['secretsfs@.service', '/usr/lib/systemd/system/secretsfs@.service'],
  ['secretsfs-hibernate.service', '/usr/lib/systemd/system/secretsfs-hibernate.service'],
  ['secretsfs-user@.service', '/usr/lib/systemd/user/secretsfs@.service'],
  ['secretsfs.sysusers.conf', '/usr/lib/sysusers.d/secretsfs.conf'],
  ['secretsfs.tmpfiles.conf', '/usr/lib/tmpfiles.d/secretsfs.conf'],
];

/** A tmpfs that lives as long as this process, seen by nobody else. */
const HOLD = 'mount --make-rprivate / && mount -t tmpfs -o mode=755 tmpfs "$1" && exec sleep infinity';

export class Systemd {
  readonly #command: readonly string[];
  #child: ChildProcess | undefined;
  #pid = 0;

  private constructor(command: readonly string[]) {
    this.#command = command;
  }

  /** Returns when it is up. It is gone after the test, with all that it started. */
  static async boot(t: Pick<TestContext, 'after'>): Promise<Systemd> {
    const directory = await mkdtemp(path.join(tmpdir(), 'systemd-'));
    const systemd = new Systemd(['unshare', ...NAMESPACES, '/bin/sh', BOOT, directory, '/', REPOSITORY]);
    t.after(() => systemd.#remove(directory));
    await systemd.#start();
    await systemd.#install();
    return systemd;
  }

  /** The same with the files and units of `root`, which stays as it is, and nothing of this repository. It can reboot(). */
  static async machine(t: Pick<TestContext, 'after'>, root: string): Promise<Systemd> {
    const directory = await mkdtemp(path.join(tmpdir(), 'systemd-'));
    const holder = spawn('unshare', ['--mount', '/bin/sh', '-euc', HOLD, 'sh', directory], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const enter = ['nsenter', `--mount=/proc/${holder.pid}/ns/mnt`, '--'];
    const systemd = new Systemd([...enter, 'unshare', ...NAMESPACES, '/bin/sh', BOOT, directory, root]);
    t.after(async () => {
      await systemd.#remove(directory, holder);
    });
    await eventually(() => must(enter[0] ?? '', [...enter.slice(1), 'mountpoint', '-q', directory]));
    await systemd.#start();
    return systemd;
  }

  async #start(): Promise<void> {
    const [command = '', ...args] = this.#command;
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    this.#child = child;
    this.#pid = await eventually(async () => {
      const children = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8');
      if (child.exitCode !== null || children === '') throw new Error('it did not start');
      return Number(children);
    });
    await eventually(async () => {
      const { stdout } = await this.run('systemctl', ['is-system-running']);
      if (stdout.trim() !== 'running') throw new Error(`systemd is ${stdout}`);
    }, patient(60_000));
  }

  /** As an administrator does it. */
  async reboot(): Promise<void> {
    const child = this.#child;
    const ended = new Promise((resolve) => child?.once('close', resolve));
    await this.run('systemctl', ['reboot']);
    await ended;
    await this.#start();
  }

  async #remove(directory: string, holder?: ChildProcess): Promise<void> {
    for (const child of [this.#child, holder]) {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGKILL');
      await ended;
    }
    const group = `secretsfs-test-${path.basename(directory)}`;
    await eventually(() => must('unshare', ['-m', '/bin/sh', '-euc', REMOVE_GROUPS, 'sh', directory, group]));
    await rm(directory, { recursive: true });
  }

  /** Of a path in there. */
  path(name: string): string {
    return path.join(`/proc/${this.#pid}/root`, name);
  }

  async write(name: string, data: string | Uint8Array, mode = 0o644): Promise<void> {
    await mkdir(path.dirname(this.path(name)), { recursive: true });
    await writeFile(this.path(`${name}.new`), data, { mode });
    await rename(this.path(`${name}.new`), this.path(name));
  }

  /** The beginning of a command that runs with files and network of here, and is seen by those in there. */
  get amongPids(): readonly [string, ...string[]] {
    return ['nsenter', `--pid=/proc/${this.#pid}/ns/pid`, '--'];
  }

  /** A command, run in there. */
  run(command: string, args: readonly string[]): Promise<Outcome> {
    return run('nsenter', ['--target', `${this.#pid}`, '--all', '--', command, ...args]);
  }

  /** The same, insisting on success; what units said is in the error. */
  async must(command: string, args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(command, args);
    if (code === 0) return stdout;
    const journal = await this.run('journalctl', ['-n', '60', '--no-pager', '-o', 'cat']);
    throw new Error(`${command} ${args.join(' ')} exited with ${code}: ${stderr}\n${journal.stdout}`);
  }

  async property(unit: string, property: string): Promise<string> {
    return (await this.must('systemctl', ['show', '--value', '-p', property, unit])).trim();
  }

  /** As a package would. */
  async #install(): Promise<void> {
    for (const [name, to] of INSTALLED) {
      await this.write(to, await readFile(path.join(REPOSITORY, 'systemd', name)));
    }
    await symlink('/opt/secretsfs/dist/secretsfs.mjs', this.path('/usr/bin/secretsfs'));
    const node = this.path('/usr/local/sbin/node');
    await symlink(process.execPath, node);
    await this.must('systemd-sysusers', []);
    await this.must('systemd-tmpfiles', ['--create', 'secretsfs.conf']);
    await this.must('systemctl', ['daemon-reload']);
  }
}
