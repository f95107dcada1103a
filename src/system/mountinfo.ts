/** The mount table, as /proc/self/mountinfo has it: proc_pid_mountinfo(5). Reading it never touches a mount. */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

export interface MountEntry {
  /** Given to another mount as soon as this one is gone. */
  readonly id: number;
  readonly parentId: number;
  /** major:minor of the mounted filesystem. */
  readonly device: string;
  readonly mountpoint: string;
  readonly fstype: string;
  readonly source: string;
  readonly options: string;
  /** Of the filesystem, not of this mount of it: `data=journal`. */
  readonly superOptions: string;
}

/** In the order of the table: of several mounts at one place, the last is the one that is seen. */
export async function readMounts(): Promise<MountEntry[]> {
  return parseMountinfo(await readFile('/proc/self/mountinfo'));
}

export function parseMountinfo(table: Buffer): MountEntry[] {
  const entries: MountEntry[] = [];
  // latin1 keeps bytes apart until the escapes are undone: names are bytes, not characters.
  for (const line of table.toString('latin1').split('\n')) {
    const fields = line.split(' ');
    // Any number of optional fields stands before the lone hyphen.
    const hyphen = fields.indexOf('-', 6);
    const [id, parentId, device, , mountpoint, options] = fields;
    const [fstype, source, superOptions = ''] = fields.slice(hyphen + 1);
    if (hyphen < 0 || device === undefined || mountpoint === undefined || options === undefined) continue;
    if (fstype === undefined || source === undefined) continue;
    entries.push({
      id: Number(id),
      parentId: Number(parentId),
      device,
      mountpoint: unescapeOctal(mountpoint),
      fstype: unescapeOctal(fstype),
      source: unescapeOctal(source),
      options,
      superOptions,
    });
  }
  return entries;
}

/** Of the mount that this descriptor leads into: proc_pid_fdinfo(5). Asks nothing of the filesystem. */
export function mountIdOf(fd: number): number {
  const [, id] = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')) ?? [];
  if (id === undefined) throw new Error('the descriptor has no mount');
  return Number(id);
}

export function topMount(mounts: readonly MountEntry[], path: string): MountEntry | undefined {
  return mounts.findLast((mount) => mount.mountpoint === path);
}

/** The kernel writes space, tab, newline and backslash as three octal digits. */
function unescapeOctal(field: string): string {
  const bytes = field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
