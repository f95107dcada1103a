/** Between the supervisor and who hands certificates to haproxy: one line with the task, one with the result. */
import * as z from 'zod';

/** More than this is told by a reload. */
export const HAPROXY_FILES_MAX = 256;

export const haproxyTaskSchema = z.strictObject({
  /** Of haproxy's runtime API. */
  socket: z.string(),
  timeoutMs: z.int().min(1),
  files: z
    .array(
      z.strictObject({
        /** Where it is read: in the mount. */
        path: z.string(),
        /** What haproxy calls it. */
        name: z.string(),
      }),
    )
    .max(HAPROXY_FILES_MAX),
});
export type HaproxyTask = z.infer<typeof haproxyTaskSchema>;

export const haproxyResultSchema = z.strictObject({
  /** How many of the files are what haproxy serves now. */
  updated: z.int().min(0).max(HAPROXY_FILES_MAX),
  /** Of the first that is not. unknown-file: haproxy has not loaded one of that name. */
  failed: z
    .enum(['unknown-file', 'unreadable', 'not-pem', 'refused', 'not-committed', 'socket', 'timeout'])
    .nullable(),
});
export type HaproxyResult = z.infer<typeof haproxyResultSchema>;
