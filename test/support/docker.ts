/** A Docker of its own, with an image of the Debian root. It is gone with the bench, with all that it started and kept. */
import { spawn } from 'node:child_process';
import { debianRoot } from './debian.ts';
import { type Bench, eventually, must, type Outcome, run } from './program.ts';
import { Shell } from './shell.ts';
import { patient } from './slowness.ts';

const NAMESPACES = [
  ...['--mount', '--propagation', 'slave', '--net', '--pid', '--fork', '--kill-child', '--mount-proc'],
];
const DAEMON = `mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$1"
echo 0 >"/sys/fs/cgroup/$1/cgroup.procs"
ip link set lo up
exec dockerd --host "unix://$2" --data-root "$3" --cgroup-parent "/$1" --log-level warn >"$3.log" 2>&1`;
const REMOVE_GROUPS = 'mount -t cgroup2 cgroup2 "$1" && find "$1/$2" -depth -type d -delete';
const IMPORT = 'tar -C "$1" -c . | docker --host "unix://$2" import - "$3"';
const MS_MAX = patient(60_000);

export const IMAGE = 'debian-root';

export class Docker {
  /** Of its API. */
  readonly socket: string;
  readonly #bench: Bench;

  private constructor(bench: Bench) {
    this.#bench = bench;
    this.socket = bench.path('docker.sock');
  }

  static async start(bench: Bench): Promise<Docker> {
    const docker = new Docker(bench);
    const group = `secretsfstest${process.pid}`;
    bench.after(() =>
      eventually(() =>
        must('unshare', ['-m', '/bin/sh', '-euc', REMOVE_GROUPS, 'sh', bench.directory, group]),
      ),
    );
    const script = [DAEMON, 'sh', group, docker.socket, bench.path('docker')];
    const child = spawn('unshare', [...NAMESPACES, '/bin/sh', '-euc', ...script], { stdio: 'ignore' });
    const closed = new Promise((resolve) => child.once('close', resolve));
    bench.after(async () => {
      child.kill('SIGKILL');
      await closed;
    });
    await eventually(() => docker.must(['version']), MS_MAX);
    const args = ['-euc', IMPORT, 'sh', await debianRoot(), docker.socket, IMAGE];
    await must('/bin/sh', args, { timeoutMs: patient(300_000) });
    return docker;
  }

  /** A command of its client, to its end. */
  run(args: readonly string[]): Promise<Outcome> {
    return run('docker', ['--host', `unix://${this.socket}`, ...args], { timeoutMs: MS_MAX });
  }

  /** The same, insisting on success. */
  must(args: readonly string[]): Promise<string> {
    return must('docker', ['--host', `unix://${this.socket}`, ...args], { timeoutMs: MS_MAX });
  }

  /** A command that becomes the shell of a container: of the client, or of another program that speaks to it. */
  shell(args: readonly string[], program = 'docker'): Promise<Shell> {
    const command = [program, '--host', `unix://${this.socket}`, ...args];
    return Shell.start((cleanup) => this.#bench.after(cleanup), command);
  }
}
