/**
 * The three users that server, agent and unsealer run as. They must differ: processes of one user can look into each
 * other before they have forbidden it. And nobody else may have them: whoever has the server's reads every secret.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { ConfigError, quote } from '../errors.ts';
import { passwdLines } from './users.ts';

export interface ProcessUser {
  readonly uid: number;
  readonly gid: number;
}

export interface ProcessUsers {
  readonly server: ProcessUser;
  readonly agent: ProcessUser;
  readonly unsealer: ProcessUser;
  /** In words, for the log. */
  readonly origin: string;
}

const ROLES = ['server', 'agent', 'unsealer'] as const;

/**
 * Where no user was made and none was named. systemd's table (UIDS-GIDS.md) has 0x70000000 to 0x7fffffff unused: after
 * the containers' range, before the half that not every filesystem can store.
 */
const DERIVED_BASE = 0x70000000;
/** nobody and nogroup; 16 bits of -1; 32 bits of -1 and -2. */
const REFUSED = [0, 65534, 65535, 0xffffffff, 0xfffffffe];
const UID_MAX = 0xfffffffd;

export interface ProcessUserOptions {
  readonly instance: string;
  /** --uid-base: the first of three numbers. It comes before everything else. */
  readonly uidBase?: number | undefined;
  /** Takes root and nobody too. */
  readonly force?: boolean | undefined;
}

/** What is asked of the machine, for tests. */
export interface UserSources {
  /** The lines of passwd(5) of those of these users that there are. */
  passwd(names: readonly string[]): Promise<readonly string[]>;
  /** Text of /proc/self/uid_map: user_namespaces(7). */
  uidMap(): Promise<string>;
}

/** Throws ConfigError config-invalid. */
export async function resolveProcessUsers(
  options: ProcessUserOptions,
  sources: UserSources = machine,
): Promise<ProcessUsers> {
  const users =
    options.uidBase === undefined
      ? ((await namedUsers(sources)) ?? numbered(derivedUidBase(options.instance), 'derived from the name'))
      : numbered(checkUidBase(options.uidBase), '--uid-base');
  if (options.force !== true) refuseShared(users);
  for (const field of ['uid', 'gid'] as const) {
    if (new Set(ROLES.map((role) => users[role][field])).size !== ROLES.length) {
      throw invalid(
        `${users.origin}: two of them have the same ${field}`,
        'give each a user and group of its own',
      );
    }
  }
  const map = await sources.uidMap().catch(() => '');
  for (const role of ROLES) {
    const { uid } = users[role];
    if (map !== '' && !isMapped(map, uid)) {
      throw invalid(
        `uid ${uid} does not exist in this user namespace`,
        'name three that do: --uid-base N (cat /proc/self/uid_map)',
      );
    }
  }
  return users;
}

/** The first of four numbers that no distribution hands out: the same at each start, so that no two mounts share. */
export function derivedUidBase(instance: string): number {
  return DERIVED_BASE + 4 * createHash('sha256').update(instance).digest().readUIntBE(0, 3);
}

/** All three or none: half an installation must not go unnoticed as a derived number. */
async function namedUsers(sources: UserSources): Promise<ProcessUsers | undefined> {
  const names = ROLES.map((role) => `secretsfs-${role}`);
  const found = await sources.passwd(names);
  const lines = names.map((name) => found.find((line) => line.startsWith(`${name}:`)));
  const missing = names.filter((_, i) => lines[i] === undefined);
  if (missing.length === names.length) return undefined;
  if (missing.length > 0) {
    throw invalid(`there is no user ${missing.map(quote).join(' and ')}`, 'systemd-sysusers makes all three');
  }
  const [server, agent, unsealer] = lines.map((line, i) => parsePasswd(line ?? '', names[i] ?? ''));
  if (server === undefined || agent === undefined || unsealer === undefined) throw new Error('three names');
  return { server, agent, unsealer, origin: names.join(', ') };
}

function parsePasswd(line: string, name: string): ProcessUser {
  const [, , uid, gid] = line.trim().split(':');
  if (uid === undefined || gid === undefined || !/^\d+$/.test(uid) || !/^\d+$/.test(gid)) {
    throw invalid(`the entry of ${quote(name)} has no uid and gid`, `getent passwd ${name}`);
  }
  return { uid: Number(uid), gid: Number(gid) };
}

function numbered(base: number, how: string): ProcessUsers {
  const user = (offset: number) => ({ uid: base + offset, gid: base + offset });
  const origin = `uids ${base} to ${base + 2} (${how})`;
  return { server: user(0), agent: user(1), unsealer: user(2), origin };
}

function checkUidBase(base: number): number {
  if (Number.isInteger(base) && base >= 0 && base + 2 <= UID_MAX) return base;
  throw invalid(`--uid-base is ${base}, want 1 to ${UID_MAX - 2}`, 'leave it out: a free range is derived');
}

function refuseShared(users: ProcessUsers): void {
  for (const role of ROLES) {
    const { uid, gid } = users[role];
    for (const id of [uid, gid]) {
      if (!REFUSED.includes(id)) continue;
      const who = id === 0 ? 'root' : id === 65534 ? 'nobody' : `the reserved number ${id}`;
      throw invalid(
        `the ${role} would run as ${who}`,
        'name three users that nobody else has: --uid-base N; what else runs as one of them could read the secrets',
      );
    }
  }
}

/** Each line: first inside, first outside, how many. */
function isMapped(map: string, uid: number): boolean {
  return map.split('\n').some((line) => {
    const [inside = Number.NaN, , count = 0] = line.trim().split(/\s+/).map(Number);
    return uid >= inside && uid < inside + count;
  });
}

function invalid(why: string, hint: string): ConfigError {
  return new ConfigError('config-invalid', `cannot take users for the processes: ${why}`, { hint });
}

const machine: UserSources = {
  passwd: passwdLines,
  uidMap: () => readFile('/proc/self/uid_map', 'utf8'),
};
