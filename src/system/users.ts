/** Users and groups, as the machine's name service knows them. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { ConfigError, quote } from '../errors.ts';
import { run } from './run.ts';

const GETENT_TIMEOUT_MS = 10_000;

/** The lines of passwd(5) of those of these users that there are, given by name or number; perhaps others too. */
export async function passwdLines(users: readonly string[]): Promise<readonly string[]> {
  // Every source of nsswitch.conf, not just /etc/passwd. One process: starting three takes 10 ms.
  const outcome = await run('getent', ['passwd', '--', ...users], GETENT_TIMEOUT_MS);
  // 2: not all of them are there. Without getent (busybox) there is only the file.
  if (outcome.found) return outcome.stdout.split('\n');
  return (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n');
}

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** Throws ConfigError where there is no such user. */
export async function account(user: string): Promise<Account> {
  for (const line of await passwdLines([user])) {
    const [name = '', , uid = '', gid = '', , home = ''] = line.trim().split(':');
    if ((name === user || uid === user) && /^\d+$/.test(uid) && /^\d+$/.test(gid))
      return { name, uid: Number(uid), gid: Number(gid), home: home === '' ? '/' : home };
  }
  throw new ConfigError('config-invalid', `cannot use user ${quote(user)}: there is no such user`, {
    hint: 'getent passwd lists them',
  });
}

/** The uid of a user given by name or number. Throws ConfigError where there is no such user. */
export function userId(user: string): Promise<number> {
  return lookUp('passwd', 'user', user);
}

/** The gid of a group given by name or number. Throws ConfigError where there is no such group. */
export function groupId(group: string): Promise<number> {
  return lookUp('group', 'group', group);
}

async function lookUp(database: 'passwd' | 'group', what: string, name: string): Promise<number> {
  if (/^\d{1,10}$/.test(name)) return Number(name);
  try {
    // getent asks every source of nsswitch.conf, not just the files. Its third field is the number.
    const { stdout } = await promisify(execFile)('getent', [database, '--', name]);
    const id = Number(stdout.split(':')[2]);
    if (Number.isInteger(id)) return id;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new ConfigError('config-invalid', `cannot look up ${what} ${quote(name)}: getent is missing`, {
        hint: `give the number of the ${what}`,
        cause,
      });
    }
  }
  throw new ConfigError('config-invalid', `cannot use ${what} ${quote(name)}: there is no such ${what}`, {
    hint: `getent ${database} lists them`,
  });
}
