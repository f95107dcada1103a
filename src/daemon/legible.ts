/**
 * Whether this version of the program can read what a running supervisor left in its store for the next one: looked at from
 * outside, through that process's descriptors, by root. Nothing is changed. The rest is for the next supervisor to
 * look at (handed.ts).
 */
import fs from 'node:fs';
import { lastControl } from '../store/handed.ts';
import { Notes } from '../store/notes.ts';
import { closeQuietly } from '../system/files.ts';
import { decodeFacts, FACTS_BYTES_MAX } from './facts.ts';
import { readRecord } from './handover-record.ts';

/** `pid`: of a supervisor. False also where it may not be looked at, or has no store. */
export function isLegible(pid: number): boolean {
  const directory = `/proc/${pid}/fd`;
  try {
    return fs.readdirSync(directory).some((fd) => isStore(`${directory}/${fd}`));
  } catch {
    return false;
  }
}

function isStore(path: string): boolean {
  let fd: number;
  try {
    fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  } catch {
    // Most are no directories.
    return false;
  }
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
