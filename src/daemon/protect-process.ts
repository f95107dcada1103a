/** What root's process of a mount does first of all. */
import { keepDescriptors } from '../system/files.ts';
import { staySmall } from '../system/footprint.ts';
import { loadNative } from '../system/native.ts';
import { protectFromOom } from './oom.ts';

/** No dumps, last to be ended for want of memory, and nothing that is open goes to a child by itself. Throws MountError. */
export async function protectProcess(): Promise<void> {
  staySmall();
  (await loadNative()).forbidDumps();
  protectFromOom();
  keepDescriptors();
}
