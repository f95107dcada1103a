/** What only tests do with the system: unmapping what a process of ours keeps for life, and mounting without FUSE. */
import { libc } from '../../src/system/libc.ts';
import { type AttachedMount, attach, makeFilesystem } from '../../src/system/mounts.ts';
import type { Mapping } from '../../src/system/native.ts';

/** Every view of `mapping.memory` dangles from now on. */
export function unmapShared({ address, bytes }: Mapping): void {
  const base = libc();
  base.check('munmap', base.bind('int munmap(void *, size_t)')(address, bytes));
}

/** As mountFuse(), a tmpfs instead: for what works on any mount. */
export function mountTmpfs(directoryFd: number): AttachedMount {
  return attach(makeFilesystem('tmpfs', [['mode', '755']]), directoryFd);
}
