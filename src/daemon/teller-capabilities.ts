/** What of root's rights the teller works with, and what it is started with. */
import type { Capability } from '../system/privileges.ts';

export const TELLER_KEEPS: readonly Capability[] = ['dac_override', 'dac_read_search', 'fowner'];
export const TELLER_CAPABILITIES: readonly Capability[] = [...TELLER_KEEPS, 'sys_chroot'];
