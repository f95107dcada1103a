/**
 * What a supervisor writes into the store for the one after it, beside the facts of each generation: which mount this is. One that
 * is told to mount something else does not go on with it.
 */
import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod';
import type { KernelMount } from '../fuse/kernel/mount.ts';
import type { ProcessUsers } from '../system/process-users.ts';
import type { SupervisorOptions } from './supervisor-options.ts';

/** Another one with each change of what is handed over, or of what it means. */
const HANDOVER_VERSION = 1;
/** A note. */
export const HANDOVER = 'handover';
const RECORD_BYTES_MAX = 256 * 1024;

const user = z.strictObject({ uid: z.int().min(1), gid: z.int().min(1) });
/** What must be the same. Names are those of settings, or of what follows from them. */
const sameSchema = z.strictObject({
  instance: z.string(),
  mountpoint: z.string(),
  cache: z.enum(['page', 'none']),
  fastOpen: z.boolean(),
  resend: z.boolean(),
  preserve: z.boolean(),
  fsname: z.string(),
  /** null: none. */
  selinuxContext: z.string().nullable(),
  users: z.strictObject({ server: user, agent: user, unsealer: user }),
  /** null: one bundle is all of it. */
  mounts: z.array(z.string()).nullable(),
});
export type Same = z.infer<typeof sameSchema>;

const recordSchema = z.strictObject({
  version: z.literal(HANDOVER_VERSION),
  same: sameSchema,
  mount: z.strictObject({ id: z.int(), device: z.string() }),
});
export type HandoverRecord = z.infer<typeof recordSchema>;

/** `mountpoint`: without symlinks. */
export function sameOf(options: SupervisorOptions, mountpoint: string, users: ProcessUsers): Same {
  const { instance, cache, fastOpen, resend, preserve, fsname, selinuxContext, parts } = options;
  const { server, agent, unsealer } = users;
  const directories = parts.flatMap(({ directory }) => (directory === undefined ? [] : [directory]));
  return {
    ...{ instance, mountpoint, cache, fastOpen, resend, preserve, fsname },
    selinuxContext: selinuxContext ?? null,
    users: { server, agent, unsealer },
    mounts: directories.length === 0 ? null : directories,
  };
}

export function encodeRecord(same: Same, { id, device }: KernelMount['identity']): string {
  const record: HandoverRecord = { version: HANDOVER_VERSION, same, mount: { id, device } };
  return JSON.stringify(record);
}

/** undefined for none, and for one of another version. */
export function readRecord(notes: {
  read(name: string, bytesMax: number): string | undefined;
}): HandoverRecord | undefined {
  try {
    return recordSchema.safeParse(JSON.parse(notes.read(HANDOVER, RECORD_BYTES_MAX) ?? '')).data;
  } catch {
    return undefined;
  }
}

/** The first that is another; undefined: none. */
export function whatDiffers(before: Same, now: Same): string | undefined {
  return (Object.keys(now) as (keyof Same)[]).find((key) => !isDeepStrictEqual(before[key], now[key]));
}
