/** What is left of root's rights to the programs that look at a candidate, and what their runner needs before. */
import type { Capability } from '../system/privileges.ts';

/**
 * Testing a configuration reads keys, makes directories and log files, and binds ports; and a program may go over to another
 * user. Not CAP_SYS_ADMIN, CAP_SYS_PTRACE and their like: no mounting, no entering of other namespaces.
 */
export const PROGRAM_CAPABILITIES: readonly Capability[] = [
  'chown',
  'dac_override',
  'dac_read_search',
  'fowner',
  'fsetid',
  'kill',
  'setgid',
  'setuid',
  'setpcap',
  'net_bind_service',
];

export const RUNNER_CAPABILITIES: readonly Capability[] = [...PROGRAM_CAPABILITIES, 'sys_admin'];
