/** Users and groups, as the machine's name service knows them. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ConfigError, quote } from '../errors.ts';

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
