/** The unit of ours that a mount runs in, which mounts again what is unmounted by anybody else (Restart=always in systemd/). */
import { readFile } from 'node:fs/promises';
import { unitOf } from '../system/systemd-job.ts';

export interface MountUnit {
  readonly name: string;
  /** The command that ends it for good. */
  readonly stop: string;
}

/** `pid`: of the mount's supervisor, while it runs. undefined: it is in none, or that can't be seen. Never throws. */
export async function mountUnit(pid: number): Promise<MountUnit | undefined> {
  return mountUnitIn(await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => ''));
}

/** `cgroup`: the text of /proc/PID/cgroup. */
export function mountUnitIn(cgroup: string): MountUnit | undefined {
  const name = unitOf(cgroup);
  if (name?.startsWith('secretsfs@') !== true) return undefined;
  const manager = /\/user@\d+\.service\//.test(cgroup) ? '--user ' : '';
  // A dash in an instance is \x2d: systemd.unit(5).
  const quoted = name.includes('\\') ? `'${name}'` : name;
  return { name, stop: `systemctl ${manager}stop ${quoted}` };
}
