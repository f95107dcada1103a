/** Processes as the kernel counts them: who belongs to a mount, where they may run, what they cost. */
import { readdir, readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { must } from '../support/program.ts';

/** The CPU that reader and servers share where they are pinned. */
export const CPU = '0';
export const PLACEMENTS = ['pinned', 'unpinned'] as const;
export type Placement = (typeof PLACEMENTS)[number];

/** A process and all that descend from it, as of now. */
export async function processTree(root: number): Promise<number[]> {
  const children = new Map<number, number[]>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, 'latin1').catch(() => undefined);
    // The command's name is in parentheses and may contain anything; what follows does not.
    const parent = Number(stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    if (Number.isNaN(parent)) continue;
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const tree = [root];
  for (const pid of tree) tree.push(...(children.get(pid) ?? []));
  return tree;
}

/** Lets processes run on that one CPU, on the others, or on all. All threads: libfuse's are not the main one. */
export async function place(pids: readonly number[], where: Placement | 'elsewhere'): Promise<void> {
  const last = cpus().length - 1;
  const first = where === 'elsewhere' ? Math.min(Number(CPU) + 1, last) : 0;
  const list = where === 'pinned' ? CPU : `${first}-${last}`;
  for (const pid of pids) await must('taskset', ['-a', '-c', '-p', list, String(pid)]);
}

/** The command that starts `command` where readers are to run. */
export function placed(placement: Placement, command: string, args: readonly string[]): [string, string[]] {
  return placement === 'pinned' ? ['taskset', ['-c', CPU, command, ...args]] : [command, [...args]];
}

/** What results say of it, said once. */
export const PLACEMENT_KEY = `pinned: reader and servers on CPU ${CPU}; unpinned, as where nothing is said: where the scheduler puts them`;

/** Proportional set size of all of them together: what they share counts once. */
export async function pssBytes(pids: readonly number[]): Promise<number> {
  let kib = 0;
  for (const pid of pids) {
    const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'latin1');
    kib += Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1]);
  }
  return kib * 1024;
}

/** CPU time of all threads that live, user and system, in ns: what utime and stime are rounded from. */
export async function cpuNs(pids: readonly number[]): Promise<number> {
  let total = 0;
  for (const pid of pids) {
    for (const thread of await readdir(`/proc/${pid}/task`)) {
      const schedstat = await readFile(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').catch(() => '0');
      total += Number(schedstat.split(' ')[0]);
    }
  }
  return total;
}

/** The fraction of all CPUs' time that something used during `ms`. */
export async function busyFraction(ms: number): Promise<number> {
  const before = await cpuTicks();
  await new Promise((resolve) => setTimeout(resolve, ms));
  const after = await cpuTicks();
  return 1 - (after.idle - before.idle) / Math.max(1, after.all - before.all);
}

async function cpuTicks(): Promise<{ idle: number; all: number }> {
  const line = (await readFile('/proc/stat', 'latin1')).split('\n')[0] ?? '';
  const ticks = line.trim().split(/\s+/).slice(1, 9).map(Number);
  return { idle: (ticks[3] ?? 0) + (ticks[4] ?? 0), all: ticks.reduce((sum, tick) => sum + tick, 0) };
}
