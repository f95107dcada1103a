/** The directories that a process holds and that are in no mount table, such as a store: found without asking any filesystem. For root. */
import fs from 'node:fs';
import { ROOT_INO } from '../generation/format.ts';
import { closeQuietly, O_PATH } from '../system/files.ts';
import { inodeOf } from '../system/statx.ts';

const FLAGS = O_PATH | fs.constants.O_DIRECTORY;
/** What is in no mount table is called so. */
const NO_PATH = '/';

/**
 * New descriptors, with O_PATH; the caller's. Not the root of a FUSE filesystem, such as the view of a mount: perhaps nobody answers
 * there. FUSE_ROOT_ID is 1, and no ramfs that is made after the boot has it. Throws where the process can't be looked into.
 */
export function* heldDirectories(pid: number): Iterable<number> {
  const fds = `/proc/${pid}/fd`;
  for (const name of fs.readdirSync(fds)) {
    let fd: number | undefined;
    try {
      if (fs.readlinkSync(`${fds}/${name}`) !== NO_PATH) continue;
      fd = fs.openSync(`${fds}/${name}`, FLAGS);
    } catch {
      // It was closed meanwhile, or is no directory.
      continue;
    }
    if (inodeOf(fd) === BigInt(ROOT_INO)) closeQuietly(fd);
    else yield fd;
  }
}
