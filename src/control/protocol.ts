/**
 * The control protocol (docs/cli-abi.md): a client sends one line of JSON, the daemon answers one line and closes.
 * Version 1. Fields are added, never renamed; a reader ignores what it does not know.
 */
import * as z from 'zod';
import type { SecretsfsError } from '../errors.ts';

export const PROTOCOL_VERSION = 1;
/** A request names an operation and what few of them take; an answer is a status of one mount. */
export const REQUEST_BYTES_MAX = 4096;
export const ANSWER_BYTES_MAX = 1024 * 1024;

export const OPERATIONS = ['status', 'wait', 'remount', 'unmount', 'upgrade', 'hook'] as const;
export type Operation = (typeof OPERATIONS)[number];
/** What the status socket answers: nothing that changes anything. */
export const READ_ONLY_OPERATIONS: readonly Operation[] = ['status', 'wait'];

/** As settings have it. */
export const hookName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/);

/** What an operation may be told. */
export const argumentsSchema = z.object({
  /** remount: a bundle older than what was live before is taken, this once. */
  allowRollback: z.boolean().optional(),
  /** remount: one of the bundles of a mount of several, by its directory; undefined: all. */
  part: hookName.optional(),
  /** hook: which one. */
  hook: hookName.optional(),
});
export type Arguments = z.infer<typeof argumentsSchema>;

export const requestSchema = argumentsSchema.extend({
  v: z.literal(PROTOCOL_VERSION),
  op: z.enum(OPERATIONS),
});

/** A failure as it travels: codes are those of errors.ts, but a newer daemon may know more of them. */
export const failureSchema = z.object({
  code: z.string(),
  message: z.string(),
  hint: z.string().optional(),
  exitCode: z.number().int(),
});
export type Failure = z.infer<typeof failureSchema>;

const generationSchema = z.object({
  /** Our own counter: 1 is the first generation of this daemon. */
  id: z.number().int(),
  serial: z.number().int(),
  /** When the author sealed it, ISO 8601. */
  created: z.string(),
  /** Opaque identity at the source. */
  revision: z.string(),
  /** Of the ciphertext, hex. */
  sha256: z.string(),
  /** ISO 8601. */
  activated: z.string(),
  /** When it was put where it was found, as its source says; null where it does not. */
  uploaded: z.string().nullable().optional(),
  files: z.number().int(),
  bytes: z.number().int(),
  /** Whether its memory is locked: false only where the machine has no swap, or with --allow-swap. */
  locked: z.boolean(),
});
export type GenerationStatus = z.infer<typeof generationSchema>;

const processSchema = z.object({
  /** supervisor, server, successor, prober, teller, notifier, agent, unsealer. */
  role: z.string(),
  pid: z.number().int(),
  user: z.string(),
  started: z.string(),
  /** How often another one had to take its place. */
  restarts: z.number().int(),
  /** Memory that is its alone (RssAnon of proc(5)), without the store; null: it has just ended. Of daemons that are new enough. */
  anonymousBytes: z.number().int().nullable().optional(),
});
export type ProcessStatus = z.infer<typeof processSchema>;

/** One that lasts: since when, and how often it was met. */
const lastingErrorSchema = failureSchema
  .extend({ since: z.string(), attempts: z.number().int() })
  .omit({ exitCode: true });
const configSchema = z.object({
  path: z.string(),
  /** When the settings that run were taken from it, ISO 8601. */
  loadedAt: z.string(),
  /** refused: what it says now is wrong, and what ran goes on. restart-needed: some of it waits for the next start. */
  state: z.enum(['current', 'refused', 'restart-needed']),
  /** Why it is refused. */
  error: failureSchema.omit({ exitCode: true }).nullable(),
  /** Settings, by name. */
  restartNeeded: z.array(z.string()),
});

const hookSchema = z.object({
  name: z.string(),
  /** run, nginx, haproxy, systemd, signal. */
  kind: z.string(),
  /** waiting: it will run in a moment. */
  state: z.enum(['idle', 'waiting', 'running']),
  lastRun: z
    .object({ started: z.string(), ms: z.number(), generation: z.number().int(), serial: z.number().int() })
    .nullable(),
  outcome: z.enum(['done', 'failed']).nullable(),
  error: z.string().nullable(),
  /** How often it ran since the mount was started, and how often that failed; of daemons that are new enough. */
  runs: z.number().int().optional(),
  failures: z.number().int().optional(),
});
export type HookStatus = z.infer<typeof hookSchema>;

const probeStatusSchema = z.object({
  /** Address and, where one is sent, name. */
  name: z.string(),
  /** Whose it is. */
  hook: z.string(),
  /** Inside the mount. */
  certificate: z.string(),
  /** unknown: not looked at yet, or nothing is known of the certificate. */
  verdict: z.enum(['served', 'wrong', 'unreachable', 'unknown']),
  servedSerial: z.string().nullable(),
  expectedSerial: z.string().nullable(),
  /** Since when that serial is served. */
  since: z.string().nullable(),
  /** From the upload (activation, where that is not known) to when it was first seen. */
  propagationMs: z.number().nullable(),
  checked: z.string().nullable(),
  error: z.string().nullable(),
});
export type ProbeStatus = z.infer<typeof probeStatusSchema>;

const lastCheckSchema = z.object({
  at: z.string(),
  outcome: z.enum(['activated', 'unchanged', 'failed']),
});
const floorSchema = z.object({
  serial: z.number().int().nullable(),
  /** Why it is not kept over a restart, in words. */
  problem: z.string().nullable(),
});
const bundleCacheSchema = z.object({
  file: z.string(),
  /** What is live came from it, and no source was found to have that since. */
  stale: z.boolean(),
  /** When a source last had what it holds; null: it holds nothing. */
  confirmed: z.string().nullable(),
  /** Why nothing is kept, or no start went by it, in words. */
  problem: z.string().nullable(),
});
const sourceStatusSchema = z.object({
  bundle: z.string(),
  /** live: it has what is served. behind: something older. refused: something unacceptable. failed: it can't be asked. */
  state: z.enum(['unasked', 'live', 'behind', 'refused', 'failed']),
  revision: z.string().nullable(),
  lastCheck: z.string().nullable(),
  error: lastingErrorSchema.nullable(),
});
const queueSchema = z.object({
  state: z.enum(['starting', 'listening', 'failing']),
  messages: z.number().int(),
  lastMessage: z.string().nullable(),
  error: failureSchema.omit({ exitCode: true }).nullable(),
});
const attemptSchema = z.object({ at: z.string(), limited: z.boolean() });

/** One of several bundles. What its fields mean is as in the status of a mount of one. */
const partSchema = z.object({
  /** Where it is below the mountpoint, and what remount calls it. */
  directory: z.string(),
  name: z.string(),
  bundle: z.string(),
  required: z.boolean(),
  /** starting: it has not been there yet, which only one that is not required may be once the mount is ready. */
  state: z.enum(['starting', 'live', 'failing']),
  /** `id` is of the generation of the mount that it went live in. */
  live: generationSchema.nullable(),
  floor: floorSchema,
  lastCheck: lastCheckSchema.nullable(),
  error: lastingErrorSchema.nullable(),
  sources: z.array(sourceStatusSchema),
  nextCheck: z.string().nullable(),
  nextAttempt: attemptSchema.nullable(),
  queue: queueSchema.nullable(),
  /** Of daemons that are new enough. */
  bundleCache: bundleCacheSchema.nullable().optional(),
});
export type PartStatus = z.infer<typeof partSchema>;

export const statusSchema = z.object({
  /** What status, remount and unmount call it. */
  instance: z.string(),
  /** The name that its bundles must carry. */
  name: z.string(),
  version: z.string(),
  pid: z.number().int(),
  started: z.string(),
  mountpoint: z.string(),
  bundle: z.string(),
  driver: z.string(),
  /** Why this driver, in words. */
  driverReason: z.string(),
  /** starting: nothing is served yet. live: the newest bundle is. failing: something is, but the newest could not be. */
  state: z.enum(['starting', 'live', 'failing']),
  live: generationSchema.nullable(),
  /** Superseded generations that open files still hold. */
  lingering: z.array(
    z.object({
      id: z.number().int(),
      bytes: z.number().int(),
      /** What keeps it, in words. */
      reason: z.string().optional(),
      /** Since when it is superseded, ISO 8601. */
      heldSince: z.string().optional(),
    }),
  ),
  /** What the next bundle's serial is measured by, of daemons that are new enough. */
  floor: floorSchema.optional(),
  lastCheck: lastCheckSchema.nullable(),
  error: lastingErrorSchema.nullable(),
  // Of daemons that are new enough.
  /** Of a mount of several bundles: each of them, in the order of the config. */
  parts: z.array(partSchema).optional(),
  /** In the order in which they are asked. */
  sources: z.array(sourceStatusSchema).optional(),
  /** When the sources are looked at next; null: when one tells of a change. */
  nextCheck: z.string().nullable().optional(),
  /** When what failed is tried again; limited: when a bundle may be opened again. */
  nextAttempt: attemptSchema.nullable().optional(),
  queue: queueSchema.nullable().optional(),
  /** The last good bundle, kept on the disk; null: it is not. */
  bundleCache: bundleCacheSchema.nullable().optional(),
  /** What the checks have to say of what is live: at most 100, and dates as they are now. */
  warnings: z
    .array(z.object({ path: z.string(), rule: z.string(), expected: z.string(), found: z.string() }))
    .optional(),
  /** What is served: leaf certificates of PEM files, at most 2,000. Serials are hex; days left are the reader's to count. */
  certificates: z.array(z.object({ path: z.string(), serial: z.string(), notAfter: z.string() })).optional(),
  /** Files whose version before the live bundle's is served, because that was refused (checks.onBadFile). */
  kept: z.array(z.string()).optional(),
  // Of the kernel driver, but for consistency, and of daemons that are new enough.
  /** Whether contents stay in the kernel's page cache. */
  cache: z.enum(['page', 'none']).optional(),
  /** Whether the kernel opens files without asking. */
  fastOpen: z.boolean().optional(),
  /** process: one that opens several files gets them from one generation. none: each from what is live then. */
  consistency: z.enum(['process', 'none']).optional(),
  /** For how long a process may pause between two of them. Only with process. */
  consistencyWindowMs: z.number().optional(),
  /** Whether the kernel is to be asked to send again what a dead server had taken. */
  resend: z.boolean().optional(),
  /** What it agreed to: the version of FUSE, and whether it will do that. null until it is mounted. */
  negotiated: z.object({ protocol: z.string(), resend: z.boolean() }).nullable().optional(),
  /** The file of --config, which is read again when it changes; null: there is none. */
  config: configSchema.nullable().optional(),
  processes: z.array(processSchema).optional(),
  hooks: z.array(hookSchema).optional(),
  probes: z.array(probeStatusSchema).optional(),
  /** Why no server could take over if the one that serves ended now, in words; null: one could, or is about to. */
  successorProblem: z.string().nullable().optional(),
  memory: z
    .object({
      /** All generations, with their metadata. */
      storeBytes: z.number().int(),
      /** What the store and the opening of a bundle may take together; null: as much as there is. */
      maxBytes: z.number().int().nullable().optional(),
      /** What could still be had when it was last looked at. */
      availableBytes: z.number().int().nullable().optional(),
    })
    .optional(),
});
export type Status = z.infer<typeof statusSchema>;

const changesSchema = z.object({
  added: z.number().int(),
  changed: z.number().int(),
  removed: z.number().int(),
  unchanged: z.number().int(),
});
/** How many files a new generation added, changed, removed and left alone. */
export type Changes = z.infer<typeof changesSchema>;

export const remountSchema = z.object({
  outcome: z.enum(['activated', 'unchanged']),
  generation: generationSchema,
  /** null for the first generation, and where nothing changed. */
  changes: changesSchema.nullable(),
});
export type RemountResult = z.infer<typeof remountSchema>;

export const unmountSchema = z.object({ mountpoint: z.string() });
export type UnmountResult = z.infer<typeof unmountSchema>;

export const upgradeSchema = z.object({
  /** Roles, in the order in which they were replaced by the program that is now on disk. */
  replaced: z.array(z.string()),
  processes: z.array(processSchema),
});
export type UpgradeResult = z.infer<typeof upgradeSchema>;

export const hookResultSchema = z.object({
  hook: z.string(),
  outcome: z.literal('done'),
  generation: z.number().int(),
  serial: z.number().int(),
  ms: z.number(),
});
export type HookResult = z.infer<typeof hookResultSchema>;

export const answerSchema = z.discriminatedUnion('ok', [
  z.object({ v: z.literal(PROTOCOL_VERSION), ok: z.literal(true), result: z.unknown() }),
  z.object({ v: z.literal(PROTOCOL_VERSION), ok: z.literal(false), error: failureSchema }),
]);

export function failureOf(error: SecretsfsError): Failure {
  return {
    code: error.code,
    message: error.message,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    exitCode: error.exitCode,
  };
}
