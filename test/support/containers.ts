/**
 * Containers made from a Debian root: by systemd-nspawn, and by runc from the configuration that containerd writes. The first
 * process of each is a Shell. They have the network of whoever starts them, and are gone with the bench.
 */
import { mkdtemp, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { debianRoot } from './debian.ts';
import { REPOSITORY } from './paths.ts';
import { type Bench, eventually, must } from './program.ts';
import { BASH, Shell } from './shell.ts';

/** Recursive and read-only, as every example of docs/containers.md is. */
export interface Bind {
  readonly source: string;
  readonly target: string;
  readonly propagation: 'rslave' | 'rprivate';
}

export interface Wanted {
  readonly binds: readonly Bind[];
  /** Its control group, below a slice of its own. */
  readonly unit: string;
  /** More options of systemd-nspawn. */
  readonly options?: readonly string[];
  /** What the engine is started by: a command that becomes the one after it. */
  readonly before?: readonly string[];
}

const NAMESPACES = ['--mount', '--propagation', 'slave', '--pid', '--fork', '--kill-child', '--mount-proc'];
const BOX = path.join(REPOSITORY, 'test/support/container-box.sh');
/** Control groups outlive who was in them. */
const REMOVE_GROUPS = 'mount -t cgroup2 cgroup2 "$1" && find "$1/$2" -depth -type d -delete';

async function inBox(
  bench: Bench,
  { unit, before = [] }: Wanted,
  command: (directory: string, slice: string) => Promise<readonly string[]>,
): Promise<Shell> {
  const directory = await mkdtemp(bench.path('box-'));
  const slice = `secretsfstest${path.basename(directory).slice('box-'.length)}.slice`;
  bench.after(() =>
    eventually(() => must('unshare', ['-m', '/bin/sh', '-euc', REMOVE_GROUPS, 'sh', directory, slice])),
  );
  const box = [...before, 'unshare', ...NAMESPACES, '/bin/sh', BOX, directory, await debianRoot()];
  return Shell.start(
    (cleanup) => bench.after(cleanup),
    [...box, `${slice}/${unit}`, ...(await command(directory, slice))],
  );
}

/** nspawn binds as a slave, and knows nothing else: what is private is bound to a private place before. */
const PRIVATE = 'mkdir "$1" && mount --rbind "$2" "$1" && mount --make-rprivate "$1" && shift 2 && exec "$@"';

export function nspawn(bench: Bench, wanted: Wanted): Promise<Shell> {
  return inBox(bench, wanted, async (directory) => {
    const binds = wanted.binds.map(({ source, target, propagation }, i) =>
      propagation === 'rslave'
        ? { at: source, target, before: [] }
        : {
            at: `${directory}/${i}`,
            target,
            before: ['/bin/sh', '-euc', PRIVATE, 'sh', `${directory}/${i}`, source],
          },
    );
    return [
      ...binds.flatMap(({ before }) => before),
      ...['systemd-nspawn', '--quiet', '--register=no', '--keep-unit', '--as-pid2', '--pipe'],
      ...['--link-journal=no', '--resolv-conf=off', '--timezone=off', `--directory=${directory}/root`],
      ...binds.map(({ at, target }) => `--bind-ro=${at}:${target}`),
      ...(wanted.options ?? []),
      ...BASH,
    ];
  });
}

/** What Docker and containerd leave to a container that asks for nothing. */
const CAPABILITIES = [
  ...['CHOWN', 'DAC_OVERRIDE', 'FSETID', 'FOWNER', 'MKNOD', 'NET_RAW', 'SETGID', 'SETUID'],
  ...['SETFCAP', 'SETPCAP', 'NET_BIND_SERVICE', 'SYS_CHROOT', 'KILL', 'AUDIT_WRITE'],
].map((name) => `CAP_${name}`);

/** An OCI runtime specification; of the binds as containerd's CRI plugin puts them (internal/cri/opts/spec_linux_opts.go). */
function specOf(root: string, group: string, binds: readonly Bind[]): unknown {
  const sets = { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES };
  return {
    ociVersion: '1.0.2',
    process: {
      user: { uid: 0, gid: 0 },
      args: BASH,
      env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'],
      cwd: '/',
      capabilities: sets,
      noNewPrivileges: true,
    },
    root: { path: root },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      ...binds.map(({ source, target, propagation }) => ({
        destination: target,
        type: 'bind',
        source,
        options: ['rbind', propagation, 'ro'],
      })),
    ],
    linux: {
      namespaces: ['pid', 'mount', 'ipc', 'uts'].map((type) => ({ type })),
      cgroupsPath: group,
      ...(binds.some(({ propagation }) => propagation === 'rslave') ? { rootfsPropagation: 'rslave' } : {}),
    },
  };
}

export async function runc(bench: Bench, wanted: Wanted): Promise<Shell> {
  const bundle = await mkdtemp(bench.path('bundle-'));
  const engine = { ...wanted, unit: 'engine.service' };
  return inBox(bench, engine, async (directory, slice) => {
    const spec = specOf(`${directory}/root`, `/${slice}/${wanted.unit}`, wanted.binds);
    await writeFile(path.join(bundle, 'config.json'), JSON.stringify(spec));
    return ['runc', 'run', '--bundle', bundle, 'box'];
  });
}
