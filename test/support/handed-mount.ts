/** A mount under a systemd of its own that supervisors come and go of, and who reads it meanwhile. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { writeArchive } from '../../src/bundle/archive.ts';
import type { Status } from '../../src/control/protocol.ts';
import { KEY, sealTest } from './bundles.ts';
import { file } from './entries.ts';
import { eventually } from './program.ts';
import { patient } from './slowness.ts';
import { Systemd } from './systemd.ts';
import { type Seen, verifiable } from './verifying-reader.ts';

const READER = fileURLToPath(new URL('verifying-reader.js', import.meta.url));
export const UNIT = 'secretsfs@web.service';
export const MOUNTPOINT = '/run/secrets/web';
const NAMES = ['cert.pem', 'key.pem'];
const READERS = 4;

/** Of one systemd, the unit as an administrator sets it up. */
export class Handed {
  readonly systemd: Systemd;
  #serial = Date.now();
  #version = 0;

  private constructor(systemd: Systemd) {
    this.systemd = systemd;
  }

  /** Started, of version 1. */
  static async start(t: TestContext, settings: readonly string[] = []): Promise<Handed> {
    const handed = new Handed(await Systemd.boot(t));
    const { systemd } = handed;
    await systemd.write('/etc/secretsfs/key', KEY, 0o400);
    await systemd.must('mkdir', ['-p', MOUNTPOINT, '/run/secrets/other']);
    await systemd.write(
      `/etc/systemd/system/${UNIT}.d/test.conf`,
      '[Service]\nEnvironment=SECRETSFS_DEBUG=1\n',
    );
    await systemd.must('systemctl', ['daemon-reload']);
    await handed.put();
    await handed.configure(settings);
    await systemd.must('systemctl', ['start', UNIT]);
    return handed;
  }

  async configure(settings: readonly string[]): Promise<void> {
    const own = [
      'bundle: /etc/secretsfs/web.enc',
      `mountpoint: ${MOUNTPOINT}`,
      'acceptKey: local:/etc/secretsfs/key',
    ];
    const named = settings.map((line) => line.split(':')[0] ?? '');
    const isOurs = (line: string) =>
      !named.some((name) => line.startsWith(`${name}:`) || (name === 'mounts' && line.startsWith('bundle:')));
    const lines = [...own.filter(isOurs), ...settings];
    await this.systemd.write('/etc/secretsfs/web.yaml', `${lines.join('\n')}\n`);
  }

  /** The next version of all files. */
  async put(): Promise<number> {
    this.#version += 1;
    this.#serial += 1;
    const entries = NAMES.map((name) => file(name, verifiable(name, this.#version)));
    for (const name of ['web', 'other']) {
      const bundle = await sealTest(await writeArchive(entries), { name, serial: this.#serial });
      await this.systemd.write(`/etc/secretsfs/${name}.enc`, bundle);
    }
    return this.#serial;
  }

  path(name = ''): string {
    return this.systemd.path(`${MOUNTPOINT}/${name}`);
  }

  async status(): Promise<Status> {
    const [status] = JSON.parse(await this.systemd.must('secretsfs', ['status', 'web', '--json']));
    return status;
  }

  async supervisor(): Promise<number> {
    return Number(await this.systemd.property(UNIT, 'MainPID'));
  }

  /** Another one says READY=1. */
  async isFollowed(before: number): Promise<void> {
    await eventually(async () => {
      assert.notEqual(await this.supervisor(), before);
      assert.equal(await this.systemd.property(UNIT, 'ActiveState'), 'active');
    }, patient(30_000));
  }

  async killSupervisor(): Promise<void> {
    const before = await this.supervisor();
    await this.systemd.must('kill', ['-KILL', `${before}`]);
    await this.isFollowed(before);
  }

  /** Another drop-in of the unit; until the next. */
  async dropIn(service: string): Promise<void> {
    await this.systemd.write(`/etc/systemd/system/${UNIT}.d/more.conf`, `[Service]\n${service}\n`);
    await this.systemd.must('systemctl', ['daemon-reload']);
  }

  async isIn(state: string): Promise<void> {
    await eventually(async () => assert.equal(await this.systemd.property(UNIT, 'SubState'), state));
  }

  /** Whoever it is, if there is one. */
  async kill(): Promise<void> {
    await this.systemd.run('systemctl', ['kill', '--kill-who=main', '--signal=KILL', UNIT]);
  }

  /** Without waiting for it. */
  async restartSoon(): Promise<void> {
    await this.systemd.must('systemctl', ['--no-block', 'restart', UNIT]);
  }

  /** Events of the log since the start, by name. */
  async events(name: string): Promise<Record<string, unknown>[]> {
    const journal = await this.systemd.must('journalctl', ['-u', UNIT, '--no-pager', '-o', 'cat']);
    return journal
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ event }) => event === name);
  }

  /** The store, by a descriptor of the supervisor. */
  async storePath(): Promise<string> {
    const fds = `/proc/${await this.supervisor()}/fd`;
    for (const fd of await readdir(this.systemd.path(fds))) {
      const names: string[] = await readdir(`${this.systemd.path(fds)}/${fd}/`).catch(() => []);
      if (names.includes('control')) return `${fds}/${fd}`;
    }
    throw new Error('the supervisor has no store');
  }

  /** Of what is live. */
  async openImage(): Promise<FileHandle> {
    return open(this.systemd.path(`${await this.storePath()}/gen-${(await this.status()).live?.id}`));
  }

  async isMounted(place = MOUNTPOINT): Promise<boolean> {
    return (await this.systemd.must('cat', ['/proc/self/mountinfo'])).includes(` ${place} `);
  }
}

/**
 * Four processes that read and verify, in this systemd's files: two that it sees, as readers of its machine are, and two of another
 * pid namespace.
 */
export class Readers {
  readonly #children: ChildProcess[];
  readonly #lines: AsyncIterator<string>[];

  constructor(t: TestContext, handed: Handed, directory = '') {
    const reader = [process.execPath, READER, handed.path(directory), ...NAMES];
    this.#children = Array.from({ length: READERS }, (_, i) => {
      const [command = '', ...args] = [...(i % 2 === 0 ? handed.systemd.amongPids : []), ...reader];
      return spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    });
    t.after(() => {
      // It ends with its input, whoever started it.
      for (const child of this.#children) child.stdin?.end();
    });
    this.#lines = this.#children.map((child) =>
      createInterface({ input: child.stdout as NonNullable<ChildProcess['stdout']> })[Symbol.asyncIterator](),
    );
  }

  /** What all saw since the last time. */
  async seen(): Promise<Seen[]> {
    for (const child of this.#children) child.stdin?.write('\n');
    return Promise.all(this.#lines.map(async (lines) => JSON.parse((await lines.next()).value)));
  }

  /** Insists on no failure; the longest read of all. */
  async verified(): Promise<number> {
    const all = await this.seen();
    for (const { failures, reads, wentBack } of all) {
      assert.deepEqual(failures, []);
      assert.ok(reads > 0);
      assert.equal(wentBack, false);
    }
    return Math.max(...all.map(({ longestMs }) => longestMs));
  }
}
