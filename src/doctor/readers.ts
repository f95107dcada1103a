/** Who reads the files of a mount: nginx and haproxy, their workers, and the hooks that test what they will read. */
import { type OpenRule, OpenRules } from '../opens/rules.ts';
import type { Server } from './server-configs.ts';
import { type Subject, unitName } from './subject.ts';
import type { Reader } from './tree.ts';
import { lastOf } from './units.ts';

/** One who reads, and in which systemd unit; undefined: that is not known, and no rule for units is held against it. */
export interface UnitReader extends Reader {
  readonly unit: string | undefined;
  /** ", which reads it while it serves" */
  readonly when: string;
}

export interface Readers {
  readonly starting: UnitReader;
  readonly serving: UnitReader;
  /** Hooks of the mount. They run in its unit. */
  readonly hooks: readonly UnitReader[];
}

/** `worker`: as whom its configuration has it serve. */
export async function readersOf(subject: Subject, server: Server, worker: string): Promise<Readers> {
  const name = `${server}.service`;
  const service = await subject.unit(name);
  const unit = service === undefined ? undefined : name;
  const user = (service === undefined ? undefined : lastOf(service, 'User')?.value) ?? 'root';
  const starting = { ...(await readerOf(subject, user)), unit, when: '' };
  // Who starts as a user stays one.
  const serving = starting.uid === 0 ? { ...(await readerOf(subject, worker)), unit } : starting;
  return {
    starting,
    serving: { ...serving, when: ', which reads it while it serves' },
    hooks: await hooksOf(subject, server),
  };
}

async function hooksOf(subject: Subject, server: Server): Promise<UnitReader[]> {
  const { plan, instance } = subject;
  const isUnit = instance !== undefined && (await subject.mountUnit()) !== undefined;
  const unit = isUnit ? unitName(instance) : undefined;
  const readers: UnitReader[] = [];
  for (const { name, action } of plan?.hooks ?? []) {
    if (action.kind !== server) continue;
    const user = action.kind === 'haproxy' ? (action.user ?? 'root') : 'root';
    readers.push({ ...(await readerOf(subject, user)), unit, when: `, as which the hook ${name} reads it` });
  }
  return readers;
}

async function readerOf({ machine }: Subject, name: string): Promise<Reader> {
  if (name === 'root' || name === '0') return { name, uid: 0, gids: [0] };
  const user = await machine.user(name);
  // Nobody's: what is open to all.
  return user === undefined ? { name, uid: -1, gids: [] } : { ...user, name };
}

/** The `match` of the rule of `access:` that keeps a reader from a path; undefined: none does. */
export function refusedBy(rules: readonly OpenRule[], path: string, reader: UnitReader): string | undefined {
  const { uid, gids, unit } = reader;
  const held = unit === undefined ? rules.map(withoutUnits) : rules;
  const opener = { uid, gid: gids[0] ?? -1, groups: () => gids, unit: () => unit };
  return new OpenRules(held).refusing(path, opener);
}

const withoutUnits = ({ match, allow }: OpenRule): OpenRule => ({
  match,
  allow: allow.map(({ unit: _, ...rest }) => rest),
});
