/** What whoever starts a process of a mount, and the process itself, must agree on. */
export type Role = 'server' | 'prober' | 'notifier' | 'agent' | 'unsealer';

/** The supervisor's pid, for the child to see that it still has this parent. */
export const PARENT_VARIABLE = 'SECRETSFS_PARENT';
/** How many descriptors it has from 3 on: some roles have one more at times. */
export const FDS_VARIABLE = 'SECRETSFS_FDS';
/** 0 and 1 are /dev/null, 2 is the log. */
export const FIRST_FD = 3;
