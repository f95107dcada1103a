/**
 * What an engine goes on with that takes over from one whose supervisor ended: read from the store, which has all of it.
 * Nothing is changed here.
 */
import { readSync } from 'node:fs';
import type { KernelMount } from '../fuse/kernel/mount.ts';
import { type ChangeList, decodeChanges } from '../generation/changes.ts';
import { HEADER_BYTES, ROOT_INO } from '../generation/format.ts';
import { Generation } from '../generation/generation.ts';
import { changesBytesMax, GENERATION_NODES_MAX } from '../limits.ts';
import type { RamfsStore } from '../store/ramfs.ts';
import type { Control } from '../store/shared.ts';
import { closeQuietly } from '../system/files.ts';
import type { Superseded } from './retirement.ts';

/** What a mount is served from: the kernel connection, the store with what its control page said, a view of the mount. */
export interface Ground {
  readonly fuseFd: number;
  readonly store: RamfsStore;
  readonly control: Control;
  readonly mount: KernelMount;
}

export interface Restored extends Ground {
  readonly live: number;
  readonly liveBytes: number;
  readonly nextId: number;
  readonly nextIno: number;
  /** Oldest first, each with what took its place. */
  readonly lingering: readonly {
    readonly superseded: Superseded;
    readonly changes: ChangeList | undefined;
  }[];
  /** What the live generation changed. */
  readonly latest: ChangeList | undefined;
  /** The same, where the kernel may not have been told it. */
  readonly owed: ChangeList | undefined;
  /** Which lists of changes there are. */
  readonly changes: readonly number[];
  /** What was under way, and comes to nothing. */
  readonly leftovers: readonly number[];
}

/** Of which generation the kernel was told all names; a note. */
export const NAMES_TOLD = 'names-told';
const NUMBER_BYTES_MAX = 20;

/** `kept`: images that no generation is, and that are needed. Throws GenerationError, and what the store throws. */
export function restore(ground: Ground, kept: readonly number[], nowMs: number): Restored {
  const { store, control } = ground;
  const { live } = control;
  const ids = [...store.ids].sort((a, b) => a - b);
  const named = new Set([live, ...control.lingering, ...kept]);
  const lists = new Map<number, ChangeList>();
  for (const id of ids) {
    const list = id > live ? undefined : changesOf(store, id);
    if (list !== undefined) lists.set(id, list);
  }
  const isTold = numberIn(store, NAMES_TOLD) === live;
  return {
    ...ground,
    live,
    liveBytes: store.imageFacts(live).bytes,
    nextId: Math.max(live, ...ids) + 1,
    nextIno: nextInoOf(store, live),
    lingering: control.lingering.map((id, i) => {
      const changes = lists.get(control.lingering[i + 1] ?? live);
      const { bytes, sinceMs } = store.imageFacts(id);
      // Of what is not known, the root stands for all: it is held as long as there is a mount, so only time lets go.
      const inodes = changes?.superseded ?? [ROOT_INO];
      return { superseded: { id, bytes, sinceMs: Math.min(sinceMs, nowMs), inodes }, changes };
    }),
    latest: lists.get(live),
    owed: isTold ? undefined : lists.get(live),
    changes: [...lists.keys()],
    leftovers: ids.filter((id) => !named.has(id) && !lists.has(id)),
  };
}

/** A note that is a number. */
export function numberIn({ notes }: Pick<RamfsStore, 'notes'>, name: string): number {
  return Number(notes.read(name, NUMBER_BYTES_MAX) ?? 0);
}

function changesOf(store: RamfsStore, id: number): ChangeList | undefined {
  const bytes = store.readChanges(id, changesBytesMax(GENERATION_NODES_MAX));
  return bytes === undefined ? undefined : decodeChanges(bytes);
}

function nextInoOf(store: RamfsStore, live: number): number {
  const fd = store.openPrevious(live);
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    readSync(fd, header, 0, header.length, 0);
    return Generation.nextIno(header);
  } finally {
    closeQuietly(fd);
  }
}
