/** What whoever starts a process of a mount, and the process itself, must agree on. */
export type Role =
  | 'server'
  | 'prober'
  | 'teller'
  | 'notifier'
  | 'agent'
  | 'unsealer'
  | 'composer'
  | 'haproxy'
  | 'trial';

/** The supervisor's pid, for the child to see that it still has this parent. */
export const PARENT_VARIABLE = 'SECRETSFS_PARENT';
/** How many descriptors it has from 3 on: some roles have one more at times. */
export const FDS_VARIABLE = 'SECRETSFS_FDS';
/** Of the server: `files:` of the config as JSON, with numbers for users and groups. Paths and numbers, nothing secret. */
export const RULES_VARIABLE = 'SECRETSFS_RULES';
/** The same for those by which the live generation was made, where `files:` has changed since. */
export const RULES_BEFORE_VARIABLE = 'SECRETSFS_RULES_BEFORE';
/** `access:` and `audit` of the config as JSON (OpensSettings). */
export const OPENS_VARIABLE = 'SECRETSFS_OPENS';
/** Of a server: it has a descriptor more, of the one image that it serves, whatever its store has. */
export const IMAGE_VARIABLE = 'SECRETSFS_IMAGE';
/** 0 and 1 are /dev/null, 2 is the log. */
export const FIRST_FD = 3;
