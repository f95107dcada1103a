/**
 * A place for one generation, and what is looked at of what an unsealer put there. It is foreign: the numbers in it are
 * bounded before anything is done by them; the server checks all the rest.
 */
import { fstatSync, readSync } from 'node:fs';
import { MountError } from '../errors.ts';
import { type ChangeList, decodeChanges } from '../generation/changes.ts';
import { HEADER_BYTES } from '../generation/format.ts';
import { Generation, GenerationError } from '../generation/generation.ts';
import { changesBytesMax } from '../limits.ts';
import type { RamfsStore } from '../store/ramfs.ts';
import { closeQuietly } from '../system/files.ts';

const STAT_BLOCK_BYTES = 512;

/** To be filled through its descriptors. */
export interface Candidate {
  readonly id: number;
  /** Read and write, for the image. */
  readonly imageFd: number;
  /** Write, for the list of changes. */
  readonly changesFd: number;
  /** Read, the image of what is live; undefined for the first. */
  readonly previousFd: number | undefined;
  /** The descriptors are gone. */
  closed: boolean;
}

/** Throws what the store throws; nothing is left then. */
export function makeCandidate(store: RamfsStore, id: number, live: number | undefined): Candidate {
  // First what may fail without leaving anything.
  const previousFd = live === undefined ? undefined : store.openPrevious(live);
  try {
    return { id, ...store.createCandidate(id), previousFd, closed: false };
  } catch (error) {
    closeQuietly(previousFd);
    throw error;
  }
}

/** Once: the numbers may be somebody else's descriptors later. */
export function closeCandidate(candidate: Candidate): void {
  if (candidate.closed) return;
  candidate.closed = true;
  closeQuietly(candidate.imageFd, candidate.changesFd, candidate.previousFd);
}

/** Of an open file of the store. */
export function bytesInMemory(fd: number): number {
  return fstatSync(fd).blocks * STAT_BLOCK_BYTES;
}

/** What is known of a candidate that can be offered. */
export interface Accepted {
  /** In memory. */
  readonly bytes: number;
  readonly changes: ChangeList;
  readonly nextIno: number;
}

/**
 * Makes a generation of a complete candidate, whose descriptors are gone then. Throws MountError generation-refused, also
 * where somebody can still write to it; the caller wipes it.
 */
export async function accept(
  store: RamfsStore,
  candidate: Candidate,
  limits: { readonly nextIno: number; readonly nodesMax: number },
): Promise<Accepted> {
  const { id, imageFd } = candidate;
  try {
    const bytes = bytesInMemory(imageFd);
    const changes = readChanges(store, id, limits.nodesMax);
    const nextIno = readNextIno(imageFd, limits.nextIno, limits.nodesMax);
    closeCandidate(candidate);
    if (!store.publish(id)) throw refused('a process still writes to it');
    return { bytes, changes, nextIno };
  } finally {
    closeCandidate(candidate);
  }
}

/** Throws MountError generation-refused for a list that is none, or too long for `nodesMax` nodes. */
function readChanges(store: RamfsStore, id: number, nodesMax: number): ChangeList {
  const bytes = store.readChanges(id, changesBytesMax(nodesMax));
  if (bytes === undefined) throw refused('its list of changes is too long');
  return refusing(() => decodeChanges(bytes, nodesMax));
}

/**
 * The first of the inode numbers that an image leaves free. It bounds what is dropped at the end, so it can neither go
 * back nor leap. Throws MountError generation-refused.
 */
export function readNextIno(imageFd: number, before: number, nodesMax: number): number {
  const header = Buffer.alloc(HEADER_BYTES);
  readSync(imageFd, header, 0, header.length, 0);
  const nextIno = refusing(() => Generation.nextIno(header));
  if (nextIno < before || nextIno > before + nodesMax + 1) throw refused('its inode numbers do not follow');
  return nextIno;
}

export function refused(why: string): MountError {
  return new MountError('generation-refused', `cannot activate the generation: ${why}`, {
    hint: 'what was live stays live; the log of the server says more',
  });
}

function refusing<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof GenerationError)) throw cause;
    throw refused(cause.message);
  }
}
