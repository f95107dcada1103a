/** Looks for bytes in the memory of another process, through /proc/PID/mem. Needs root. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

export interface Hit {
  readonly address: number;
  /** VmFlags of the mapping, as proc_pid_smaps(5) names them: lo locked, dd not in dumps, wf wiped on fork. */
  readonly flags: readonly string[];
  readonly name: string;
}

/** Every place in readable memory where `needle` stands. */
export function scanMemory(pid: number, needle: Buffer): Hit[] {
  const hits: Hit[] = [];
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    for (const mapping of mappings(pid)) {
      const chunk = Buffer.alloc(Math.min(mapping.end - mapping.start, 8 * 1024 * 1024) + needle.length);
      for (let at = mapping.start; at < mapping.end; at += chunk.length - needle.length) {
        let got: number;
        try {
          got = readSync(memory, chunk, 0, Math.min(chunk.length, mapping.end - at), at);
        } catch {
          break;
        }
        for (let i = chunk.subarray(0, got).indexOf(needle); i >= 0; ) {
          if (i < chunk.length - needle.length)
            hits.push({ address: at + i, flags: mapping.flags, name: mapping.name });
          i = chunk.subarray(0, got).indexOf(needle, i + 1);
        }
        chunk.fill(0);
      }
    }
  } finally {
    closeSync(memory);
  }
  return hits;
}

function mappings(pid: number) {
  const found: { start: number; end: number; name: string; flags: string[] }[] = [];
  let current: { start: number; end: number; name: string; flags: string[] } | undefined;
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) (r)\S+ \S+ \S+ \S+\s*(.*)$/.exec(line);
    if (head?.[1] !== undefined && head[2] !== undefined) {
      current = { start: parseInt(head[1], 16), end: parseInt(head[2], 16), name: head[4] ?? '', flags: [] };
      if (!current.name.startsWith('[v')) found.push(current);
    } else if (/^[0-9a-f]+-/.test(line)) current = undefined;
    else if (line.startsWith('VmFlags:') && current !== undefined) {
      current.flags = line.slice('VmFlags:'.length).trim().split(/\s+/);
    }
  }
  return found;
}
