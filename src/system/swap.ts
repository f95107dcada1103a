/** Whether this machine can write memory to a disk behind our back. */
import { readFile } from 'node:fs/promises';

/** Paths of the active swap areas, as /proc/swaps names them (proc_swaps(5)); the first line is a heading. */
export async function swapAreas(file = '/proc/swaps'): Promise<string[]> {
  const lines = (await readFile(file, 'utf8')).split('\n').slice(1);
  return lines.flatMap((line) => /^\S+/.exec(line)?.[0] ?? []);
}
