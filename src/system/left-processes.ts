/**
 * What the process before this one left running in their service: systemd waits for none of it (KillMode=process in
 * systemd/secretsfs@.service), and the kernel ends only what asked for it, such as no program of a hook.
 */
import fs from 'node:fs';
import { unitOf } from './systemd-job.ts';

/** Field 22 of proc_pid_stat(5), counted from behind the name, which may have anything in it. */
const STARTTIME = 19;

/**
 * Kills each process that is in the control groups of this one and began before it; returns how many. Nothing where this is no service. It
 * does not wait for their end. `proc`, `kill`: for tests.
 */
export function endLeftProcesses(proc = '/proc', kill = killNow, self = `${process.pid}`): number {
  const groups = read(`${proc}/${self}/cgroup`);
  const begun = startedAt(proc, self);
  if (groups === undefined || begun === undefined || unitOf(groups) === undefined) return 0;
  const left = fs.readdirSync(proc).filter((pid) => {
    if (!/^\d+$/.test(pid) || pid === self || read(`${proc}/${pid}/cgroup`) !== groups) return false;
    return (startedAt(proc, pid) ?? begun) < begun;
  });
  for (const pid of left) kill(Number(pid));
  return left.length;
}

/** In ticks since the boot. */
function startedAt(proc: string, pid: string): number | undefined {
  const stat = read(`${proc}/${pid}/stat`);
  const ticks = Number(stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[STARTTIME]);
  return Number.isSafeInteger(ticks) ? ticks : undefined;
}

/** undefined: it has ended. */
function read(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'latin1');
  } catch {
    return undefined;
  }
}

function killNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}
