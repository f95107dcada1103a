/** Has a composer fill a candidate: which image goes where, and the numbers that bound it, are said here. */
import { openSync } from 'node:fs';
import type { FileRule } from '../checks/ownership.ts';
import { MountError, SecretsfsError } from '../errors.ts';
import { changesBytesMax, metadataBytesMax } from '../limits.ts';
import { closeQuietly } from '../system/files.ts';
import type { ProcessUser } from '../system/process-users.ts';
import type { Candidate } from './candidate.ts';
import { COMPOSER_TASK_VERSION, type ComposerTask } from './composer-task.ts';
import type { WrittenImage } from './image-files.ts';
import type { Log } from './log.ts';
import { performedBy } from './one-task.ts';
import { spawnComposer } from './processes.ts';
import { composerResultSchema } from './unsealer-channel.ts';

/** It says nothing until it is done: reads and writes a gibibyte of memory, on a slow CPU. */
const COMPOSE_MS_MAX = 60_000;

export interface ComposingRequest {
  readonly parts: readonly {
    readonly directory: string;
    /** Reads its image; undefined: it has none yet. */
    readonly imageFd: number | undefined;
    readonly filesMax: number;
    readonly bytesMax: number;
  }[];
  readonly rules: readonly FileRule[];
  readonly preserve: boolean;
  readonly serial: number;
  readonly candidate: Candidate;
  readonly user: ProcessUser;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/**
 * Nobody writes to the candidate any more when this returns or throws. Throws what the composer failed with, MountError
 * composer-failed, and the signal's reason. The descriptors stay the caller's.
 */
export async function composeInto(request: ComposingRequest): Promise<WrittenImage> {
  const { parts, rules, preserve, serial, candidate, user, log, signal } = request;
  const task: ComposerTask = {
    generationId: candidate.id,
    serial,
    parts: parts.map(({ imageFd, ...part }) => ({ ...part, hasImage: imageFd !== undefined })),
    rules,
    preserve,
  };
  const sum = (of: 'filesMax' | 'bytesMax') => parts.reduce((total, part) => total + part[of], 0);
  const nodesMax = sum('filesMax') + parts.length + 1;
  const fileBytesMax = Math.max(changesBytesMax(nodesMax), metadataBytesMax(nodesMax) + sum('bytesMax'));
  const devNull = openSync('/dev/null', 'r');
  try {
    const { imageFd, changesFd, previousFd } = candidate;
    const images = parts.flatMap((part) => part.imageFd ?? []);
    const files = [imageFd, changesFd, previousFd ?? devNull, ...images];
    const child = spawnComposer(user, files, fileBytesMax, log);
    const limits = { timeoutMs: COMPOSE_MS_MAX, silenceMs: COMPOSE_MS_MAX, signal };
    const result = await performedBy(child, { version: COMPOSER_TASK_VERSION, ...task }, limits, {
      parse: (said) => composerResultSchema.safeParse(said).data,
      failed,
    });
    if (result.outcome === 'composed') return result;
    throw new SecretsfsError(result.code, result.message, { hint: result.hint });
  } finally {
    closeQuietly(devNull);
  }
}

function failed(why: string): MountError {
  return new MountError('composer-failed', `cannot compose the generation: the composer failed: ${why}`, {
    hint: 'the log says more; with SIGKILL, look for the kernel\'s "out of memory"',
  });
}
