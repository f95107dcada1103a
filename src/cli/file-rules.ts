/** `files:` and `access:` of a config, with the numbers of their users and groups: looked up before anything is mounted. */
import type { FileRule } from '../checks/ownership.ts';
import type { FilesSettings } from '../checks/settings.ts';
import type { OpenRule } from '../opens/rules.ts';
import type { AccessSettings } from '../opens/settings.ts';
import { groupId, userId } from '../system/users.ts';

/** Throws ConfigError for a user or a group that there is not. */
export async function resolveRules(files: FilesSettings): Promise<FileRule[]> {
  const rules: FileRule[] = [];
  for (const { match, owner, group, mode } of files) {
    rules.push({
      match,
      ...(owner === undefined ? {} : { uid: await userId(String(owner)) }),
      ...(group === undefined ? {} : { gid: await groupId(String(group)) }),
      ...(mode === undefined ? {} : { mode: Number.parseInt(mode, 8) }),
    });
  }
  return rules;
}

/** Throws ConfigError for a user or a group that there is not. */
export async function resolveAccess(access: AccessSettings): Promise<OpenRule[]> {
  const rules: OpenRule[] = [];
  for (const { match, allow } of access) {
    const allowed: OpenRule['allow'][number][] = [];
    for (const { user, group, unit } of allow) {
      allowed.push({
        ...(user === undefined ? {} : { uid: await userId(String(user)) }),
        ...(group === undefined ? {} : { gid: await groupId(String(group)) }),
        ...(unit === undefined ? {} : { unit }),
      });
    }
    rules.push({ match, allow: allowed });
  }
  return rules;
}
