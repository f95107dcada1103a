/** What of root's rights the prober works with, and what it is started with. */
import type { Capability } from '../system/privileges.ts';

export const PROBER_KEEPS: readonly Capability[] = ['dac_override', 'dac_read_search', 'fowner'];
export const PROBER_CAPABILITIES: readonly Capability[] = [...PROBER_KEEPS, 'sys_chroot'];
