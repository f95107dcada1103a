/**
 * systemd's units as systemd.unit(5) puts them together: the file of the first directory that has it, then the drop-ins of all,
 * by name. systemctl show would say the same, where systemd runs and the manager was reloaded since.
 */
import type { Machine } from './machine.ts';

/** Those of earlier ones hide those of later ones. */
export const UNIT_DIRECTORIES = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
] as const;

export interface Assignment {
  readonly section: string;
  readonly key: string;
  readonly value: string;
  readonly file: string;
}

export interface Unit {
  readonly file: string;
  /** Of `file` alone. */
  readonly text: string;
  /** In the order in which they count. */
  readonly assignments: readonly Assignment[];
}

/** The last that counts of a setting with one value; an empty one takes back those before. */
export function lastOf(unit: Unit, key: string, section = 'Service'): Assignment | undefined {
  const last = unit.assignments.findLast((each) => each.key === key && each.section === section);
  return last?.value === '' ? undefined : last;
}

/** The words of all of a setting that is a list. */
export function listOf(unit: Unit, key: string, section = 'Unit'): string[] {
  let words: string[] = [];
  for (const each of unit.assignments) {
    if (each.key !== key || each.section !== section) continue;
    words = each.value === '' ? [] : [...words, ...each.value.split(/\s+/)];
  }
  return words;
}

/** Text of a unit or drop-in; pure. What is no assignment is left out, as systemd does. */
export function parseUnit(text: string, file: string): Assignment[] {
  const found: Assignment[] = [];
  let section = '';
  let continued = '';
  for (const raw of text.split('\n')) {
    const line = raw.trim();
    // A comment between continued lines ends nothing.
    if (/^[#;]/.test(line)) continue;
    const whole = continued === '' ? line : `${continued} ${line}`;
    if (whole.endsWith('\\')) {
      continued = whole.slice(0, -1).trimEnd();
      continue;
    }
    continued = '';
    const heading = /^\[([^\]]+)\]$/.exec(whole)?.[1];
    if (heading !== undefined) {
      section = heading;
      continue;
    }
    const [, key, value] = /^([A-Za-z][A-Za-z0-9-]*)\s*=\s*(.*)$/.exec(whole) ?? [];
    if (key !== undefined && value !== undefined) found.push({ section, key, value, file });
  }
  return found;
}

/** `name` may be of a template: secretsfs@web.service. */
export async function loadUnit(machine: Machine, name: string): Promise<Unit | undefined> {
  const template = name.replace(/@.+\./, '@.');
  const names = [...new Set([name, template])];
  for (const candidate of names) {
    for (const directory of UNIT_DIRECTORIES) {
      const file = `${directory}/${candidate}`;
      const text = await machine.read(file);
      if (text === undefined) continue;
      const assignments = parseUnit(text, file);
      for (const dropIn of await dropInsOf(machine, [...new Set([name, template, 'service'])])) {
        assignments.push(...parseUnit((await machine.read(dropIn)) ?? '', dropIn));
      }
      return { file, text, assignments };
    }
  }
  return undefined;
}

async function dropInsOf(machine: Machine, names: readonly string[]): Promise<string[]> {
  const byName = new Map<string, string>();
  for (const name of names) {
    for (const directory of UNIT_DIRECTORIES) {
      for (const file of await machine.list(`${directory}/${name}.d`)) {
        if (file.endsWith('.conf') && !byName.has(file)) byName.set(file, `${directory}/${name}.d/${file}`);
      }
    }
  }
  return [...byName].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, path]) => path);
}
