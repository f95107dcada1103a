/**
 * Whether this version of the program can read what a running supervisor left in its store for the next one: looked at from
 * outside, through that process's descriptors, by root. Nothing is changed. The rest is for the next supervisor to
 * look at (handed.ts).
 */
import { lastControl } from '../store/handed.ts';
import { Notes } from '../store/notes.ts';
import { closeQuietly } from '../system/files.ts';
import { decodeFacts, FACTS_BYTES_MAX } from './facts.ts';
import { readRecord } from './handover-record.ts';
import { heldDirectories } from './held-directories.ts';

/** `pid`: of a supervisor. False also where it may not be looked at, or has no store. */
export function isLegible(pid: number): boolean {
  try {
    return [...heldDirectories(pid)].map(isStore).includes(true);
  } catch {
    return false;
  }
}

/** Closes it. */
function isStore(fd: number): boolean {
  try {
    const notes = new Notes(fd);
    const live = readRecord(notes) === undefined ? undefined : lastControl(fd)?.live;
    return live !== undefined && decodeFacts(notes.read(`facts-${live}`, FACTS_BYTES_MAX)) !== undefined;
  } catch {
    return false;
  } finally {
    closeQuietly(fd);
  }
}
