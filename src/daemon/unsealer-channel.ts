/**
 * Between the supervisor and an unsealer: one line of JSON with the task, one with the result; in between {"alive":true} every
 * ALIVE_EVERY_MS, so that one that stands still is not waited for, and {"calls":[…]} with what it asked of AWS. The unsealer parses what
 * came from outside, so its result is read as strictly as that: bounded, nothing unknown in it, texts fit for a log.
 */
import * as z from 'zod';
import { OLD_FORMATS } from '../bundle/old-format-names.ts';
import { CERTIFICATES_MAX, FINDINGS_MAX, KEPT_MAX, NAMES_MAX, RULES } from '../checks/findings.ts';
import { checksTaskSchema, fileRulesSchema } from '../checks/settings.ts';
import { isErrorCode, MountError, SecretsfsError } from '../errors.ts';
import { GENERATION_NODES_MAX, MOUNT_BYTES_MAX, PATH_BYTES_MAX } from '../limits.ts';
import { CALL_OUTCOMES, CALL_TOTALS_MAX, type CallTotal, OPERATIONS, SERVICES } from '../metrics/calls.ts';
import { awsSettingsSchema, foreignRevision, foreignText, foreignVersion } from './agent-channel.ts';
import type { Message } from './channel.ts';
import { performedBy, type TaskLimits, type TaskProcess } from './one-task.ts';

/** The first descriptor of what a task names: a bundle, key files. */
export const FILES_FD = 7;
/** How many descriptors there are from FILES_FD on, in the environment: it is known before a word is read. */
export const FILES_VARIABLE = 'SECRETSFS_FILES';
/** How often an unsealer says that it lives, while it waits for others. */
export const ALIVE_EVERY_MS = 2_000;

const descriptor = z.int().min(FILES_FD);
const count = z.int().min(0);
/** A file that the supervisor opened; or why it could not, as an errno's name. */
const openedFile = z.union([descriptor, z.string().regex(/^E[A-Z0-9]{1,20}$/)]);
const pairs = z.record(z.string(), z.string());

/**
 * Of the task: another one with each change of its schema, or of what its fields mean. An unsealer is of the program on disk,
 * the supervisor of the one that it was started from.
 */
export const UNSEALER_TASK_VERSION = 4;

const unsealerTaskSchema = z.strictObject({
  /** As a person wrote it, or absolute: for messages only where `bundleFile` is given. */
  location: z.string(),
  bundleFile: openedFile.nullable(),
  /** Empty, for the ciphertext of what was opened; null: nobody wants it. */
  keepFile: descriptor.nullable(),
  knownRevision: z.string().nullable(),
  /** Exactly what is to be opened; null: the newest. */
  revision: z.string().nullable(),
  /** The ciphertext that is live: found again, it is not opened again. */
  liveSha256: z.string().nullable(),
  /** The lowest acceptable serial, and the ciphertext that may have it; any may, where none is named. */
  floor: z
    .strictObject({
      serial: count,
      sha256: z.string().optional(),
      from: z.union([z.enum(['setting', 'live']), z.strictObject({ file: z.string() })]).optional(),
    })
    .nullable(),
  name: z.string(),
  context: pairs,
  /** What it may be beside a bundle. */
  formats: z.array(z.enum(OLD_FORMATS)),
  /** As settings have them: local:PATH or the ARN of a KMS key. */
  acceptedKeys: z.array(z.string()),
  /** By path, each local one. */
  keyFiles: z.record(z.string(), openedFile),
  /** Who opened them: may own them, as root may. */
  supervisorUid: count,
  bytesMax: count,
  filesMax: count,
  preserve: z.boolean(),
  checks: checksTaskSchema,
  /** `files:` of the config. */
  rules: fileRulesSchema,
  owner: z.strictObject({ uid: count, gid: count }),
  /** For the keys. */
  aws: awsSettingsSchema,
  /** For the source. */
  sourceAws: awsSettingsSchema,
  /** Of the generation that is to be made. */
  generationId: z.int().min(1),
  memory: z.strictObject({
    /** What the machine and every control group leave; null where that is not known. */
    availableBytes: count.nullable(),
    /** What the store holds: live and lingering. */
    heldBytes: count,
    /** What may be held and taken together; null: as much as there is. */
    maxBytes: count.nullable(),
  }),
});
export type UnsealerTask = z.infer<typeof unsealerTaskSchema>;

/** Throws MountError unsealer-failed for one of another version; whatever else is wrong with it is a bug. */
export function parseTask({ version, ...task }: Message): UnsealerTask {
  if (version !== UNSEALER_TASK_VERSION) throw foreignVersion('cannot open the bundle');
  return unsealerTaskSchema.parse(task);
}

const nodes = count.max(GENERATION_NODES_MAX);
/** Whoever shows it quotes it. */
const path = z.string().min(1).max(PATH_BYTES_MAX);
const instant = z.iso.datetime({ precision: 3 });

/** Of an image. */
const writtenShape = {
  files: nodes,
  directories: nodes,
  symlinks: nodes,
  contentBytes: count.max(MOUNT_BYTES_MAX),
  counts: z.strictObject({ added: nodes, changed: nodes, removed: nodes, unchanged: nodes }),
};
export const writtenImageSchema = z.strictObject(writtenShape);
const failedShape = {
  outcome: z.literal('failed'),
  code: z.string().refine(isErrorCode),
  message: foreignText,
  hint: foreignText.optional(),
};

/** What a composer says; it is read like an unsealer's. */
export const composerResultSchema = z.discriminatedUnion('outcome', [
  z.strictObject({ outcome: z.literal('composed'), ...writtenShape }),
  z.strictObject(failedShape),
]);

/** Of a candidate. */
export const openedResultSchema = z.strictObject({
  outcome: z.literal('opened'),
  revision: foreignRevision,
  /** Of the ciphertext. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  serial: z.int().min(1),
  created: instant,
  /** When it was put where it was found; null where its source does not say. */
  uploaded: instant.nullable(),
  ...writtenShape,
  /** What the checks have to say of what goes live; see src/checks/findings.ts. */
  findings: z
    .array(
      z.strictObject({
        level: z.literal('warn'),
        path,
        rule: z.enum(RULES),
        expected: foreignText,
        found: foreignText,
      }),
    )
    .max(FINDINGS_MAX)
    .readonly(),
  /** How many there were. */
  warnings: count,
  certificates: z
    .array(
      z.strictObject({
        path,
        serial: z.string().regex(/^(?:[0-9a-f]{2}){1,64}$/),
        notBefore: instant,
        notAfter: instant,
        names: z
          .array(z.string().regex(/^[\w.*:-]{1,253}$/))
          .max(NAMES_MAX)
          .readonly(),
      }),
    )
    .max(CERTIFICATES_MAX)
    .readonly(),
  kept: z.array(path).max(KEPT_MAX).readonly(),
});

export const unsealerResultSchema = z.discriminatedUnion('outcome', [
  z.strictObject({ outcome: z.literal('unchanged'), revision: foreignRevision }),
  openedResultSchema,
  z.strictObject({ ...failedShape, revision: foreignRevision.optional() }),
]);
export type UnsealerResult = z.infer<typeof unsealerResultSchema>;
export type OpenedResult = Extract<UnsealerResult, { outcome: 'opened' }>;

/** Once, before the result. */
const callsSchema = z.strictObject({
  calls: z
    .array(
      z.strictObject({
        service: z.enum(SERVICES),
        operation: z.enum(OPERATIONS),
        outcome: z.enum(CALL_OUTCOMES),
        count: count.max(1_000_000),
        seconds: z.number().min(0).max(1_000_000),
      }),
    )
    .max(CALL_TOTALS_MAX),
});

/** undefined for what no unsealer of ours says. */
export function parseResult(said: Message): UnsealerResult | undefined {
  return unsealerResultSchema.safeParse(said).data;
}

/**
 * Gives the task and waits for the result, and for the end of the process: nothing writes to the candidate any more when
 * this returns or throws. Throws what the unsealer failed with, with its revision; MountError unsealer-failed where it
 * ended, said something else, or took longer than `timeoutMs`; and the signal's reason.
 */
export async function unseal(
  unsealer: TaskProcess,
  task: UnsealerTask,
  limits: TaskLimits & {
    /** What it asked of AWS. */
    readonly onCalls?: (calls: readonly CallTotal[]) => void;
  },
): Promise<Exclude<UnsealerResult, { outcome: 'failed' }>> {
  const told = { version: UNSEALER_TASK_VERSION, ...task };
  let isCounted = false;
  const hear = (said: Message) => {
    const counted = isCounted ? undefined : callsSchema.safeParse(said).data;
    if (counted === undefined) return false;
    isCounted = true;
    limits.onCalls?.(counted.calls);
    return true;
  };
  const result = await performedBy(unsealer, told, limits, { parse: parseResult, failed, hear });
  if (result.outcome !== 'failed') return result;
  const error = new SecretsfsError(result.code, result.message, { hint: result.hint });
  error.revision = result.revision;
  throw error;
}

function failed(why: string): MountError {
  return new MountError('unsealer-failed', `cannot open the bundle: the unsealer failed: ${why}`, {
    hint: 'the log says more; with SIGKILL, look for the kernel\'s "out of memory"',
  });
}
