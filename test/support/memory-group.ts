/** A control group for memory whose parent has the limit: what is in it is bounded by an ancestor. cgroups(7), v1 or v2. */
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { memoryHierarchies } from '../../src/system/cgroups.ts';
import { type Bench, eventually } from './program.ts';

export interface MemoryGroup {
  /** For Bench.before: the command after it, and all that it starts, is in the group. */
  readonly entering: readonly string[];
  /** The ancestor gives that many bytes more than are in use; undefined lifts the limit. */
  leave(bytes: number | undefined): Promise<void>;
  /** Processes that the kernel ended for want of memory. */
  kills(): Promise<number>;
}

const NAMES = {
  1: {
    limit: 'memory.limit_in_bytes',
    none: '-1',
    usage: 'memory.usage_in_bytes',
    events: 'memory.oom_control',
  },
  2: { limit: 'memory.max', none: 'max', usage: 'memory.current', events: 'memory.events' },
};

/** As root. Throws where this machine has no control group that accounts for memory. */
export async function makeMemoryGroup(bench: Bench): Promise<MemoryGroup> {
  const texts = ['cgroup', 'mountinfo'].map((name) => readFile(`/proc/self/${name}`, 'utf8'));
  const [cgroup = '', mountinfo = ''] = await Promise.all(texts);
  const hierarchies = memoryHierarchies(cgroup, mountinfo);
  // Where both are there, v1 has the controller.
  const { version, directories } = hierarchies.find((each) => each.version === 1) ?? hierarchies[0] ?? {};
  const root = directories?.at(-1);
  if (version === undefined || root === undefined)
    throw new Error('no control group accounts for memory here');
  const names = NAMES[version];
  const ancestor = path.join(root, path.basename(bench.directory));
  const group = path.join(ancestor, 'inner');
  if (version === 2) await writeFile(path.join(root, 'cgroup.subtree_control'), '+memory');
  await mkdir(group, { recursive: true });
  bench.after(async () => {
    // Busy for as long as the last process in it is being reaped.
    for (const directory of [group, ancestor]) await eventually(() => rmdir(directory));
  });
  if (version === 2) await writeFile(path.join(ancestor, 'cgroup.subtree_control'), '+memory');
  const read = (name: string) => readFile(path.join(ancestor, name), 'utf8');
  return {
    entering: ['sh', '-c', 'echo $$ >"$0" && exec "$@"', path.join(group, 'cgroup.procs')],
    async leave(bytes) {
      const limit = bytes === undefined ? names.none : `${Number(await read(names.usage)) + bytes}`;
      await writeFile(path.join(ancestor, names.limit), limit);
    },
    kills: async () =>
      Number(/^oom_kill (\d+)$/m.exec(await readFile(path.join(group, names.events), 'utf8'))?.[1]),
  };
}
