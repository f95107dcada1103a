/**
 * The store of a mount whose unit is being stopped while no supervisor is there to wipe it: the next one has just begun, or the
 * one before has just ended. systemd keeps the store's descriptor until the unit is at its end, and what systemd has open is PID 1's.
 */
import fs from 'node:fs';
import { ROOT_INO } from '../generation/format.ts';
import { closeQuietly, O_PATH } from '../system/files.ts';
import { endLeftProcesses } from '../system/left-processes.ts';
import { inodeOf } from '../system/statx.ts';
import { examine, isUsable, NAMES } from './handed.ts';
import { endUnusable } from './handover.ts';
import { readRecord } from './handover-record.ts';
import type { Log } from './log.ts';

/** Opening asks no filesystem then. */
const FLAGS = O_PATH | fs.constants.O_DIRECTORY;
/** What a directory in no mount table is called. */
const NO_PATH = '/';

/**
 * Ends what its processes left running, and unmounts and wipes what PID 1 holds of this instance; returns how many stores. For root, while the unit ends: nobody else may hold them.
 * What is no store of ours is not touched. `holder`: another process than PID 1, for tests.
 */
export async function endLeftStores(instance: string, log: Log, holder = 1): Promise<number> {
  if (holder === 1) endLeftProcesses();
  let ended = 0;
  for (const fd of directoriesOf(holder)) {
    const left = await examine([{ name: NAMES.store, fd }], Date.now());
    if (isUsable(left)) throw new Error('a store alone was gone on with');
    if (left.store !== undefined && readRecord(left.store.notes)?.same.instance === instance) {
      await endUnusable(left, log);
      ended += 1;
    } else left.store?.close();
  }
  return ended;
}

/**
 * Of what the process has open, new descriptors; the caller's. Not the root of a FUSE filesystem, such as the view of the mount: nobody
 * answers there. FUSE_ROOT_ID is 1, and no ramfs that is made after the boot has it.
 */
function* directoriesOf(holder: number): Iterable<number> {
  const fds = `/proc/${holder}/fd`;
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
