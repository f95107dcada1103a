/** Group names, as the machine's name service knows them. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ConfigError, quote } from '../errors.ts';

/** The gid of a group given by name or number. Throws ConfigError where there is no such group. */
export async function groupId(group: string): Promise<number> {
  if (/^\d{1,9}$/.test(group)) return Number(group);
  try {
    // getent asks every source of nsswitch.conf, not just /etc/group.
    const { stdout } = await promisify(execFile)('getent', ['group', '--', group]);
    const gid = Number(stdout.split(':')[2]);
    if (Number.isInteger(gid)) return gid;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new ConfigError('config-invalid', `cannot look up group ${quote(group)}: getent is missing`, {
        hint: 'give the number of the group',
        cause,
      });
    }
  }
  throw new ConfigError('config-invalid', `cannot use group ${quote(group)}: there is no such group`, {
    hint: 'getent group lists them',
  });
}
