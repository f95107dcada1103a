/** What /proc says of a process. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Uninterruptible sleep: what nothing can end. Undefined for a process that is gone. */
export function stateOf(pid: number): string | undefined {
  try {
    return /^State:\s*(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}

/** Whether it is in D state each time that it is looked at, for half a second. */
export async function isStuck(pid: number): Promise<boolean> {
  for (let i = 0; i < 10; i++) {
    if (stateOf(pid) !== 'D') return false;
    await sleep(50);
  }
  return true;
}

/** Whether a thread of it waits for the answer of a FUSE server. */
export function waitsForFuse(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).some((thread) =>
    /fuse|request_wait_answer/.test(readFileSync(`/proc/${pid}/task/${thread}/wchan`, 'latin1')),
  );
}

/** What a process has for itself, in bytes; 0 for one that is gone. Its share of Node's own pages, in PSS, changes with every other Node on the machine. */
export function ownBytesOf(pid: number): number {
  try {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    return Number(/^Anonymous:\s*(\d+) kB/m.exec(rollup)?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

export function childrenOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return children.trim().split(' ').filter(Boolean).map(Number);
}

/** False where it was gone already. */
export function kill(pid: number, signal: NodeJS.Signals = 'SIGKILL'): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** A line of /proc/PID/status, as "CapEff" or "Uid"; empty where there is none. */
export function statusOf(pid: number, field: string): string {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  return new RegExp(`^${field}:\\s*(.*)$`, 'm').exec(text)?.[1] ?? '';
}
