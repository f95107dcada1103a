/** What can be seen of all processes of this machine. */
import { readdirSync, readFileSync } from 'node:fs';

export function allPids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

export interface Mention {
  readonly pid: number;
  readonly where: 'cmdline' | 'environ';
}

/** Who has one of `needles` in its argv or in its environment. */
export function mentions(needles: readonly Buffer[]): Mention[] {
  const found: Mention[] = [];
  for (const pid of allPids()) {
    for (const where of ['cmdline', 'environ'] as const) {
      const text = read(`/proc/${pid}/${where}`);
      if (needles.some((needle) => text.includes(needle))) found.push({ pid, where });
    }
  }
  return found;
}

/** A line of status, mountinfo, ... of a process; empty where it is gone. */
export function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0);
  }
}
