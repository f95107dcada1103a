/** `files:` of a config, with the numbers of its users and groups: looked up before anything is mounted. */
import type { FileRule } from '../checks/ownership.ts';
import type { FilesSettings } from '../checks/settings.ts';
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
