/**
 * The unsealer: one process for one new revision. Fetches it, looks at its header against the policy and at the memory
 * that opening it takes, only then uses a key; writes the generation and what it changes into files that it was given,
 * says one line, and exits: keys and half-parsed plaintext die with it. What it may accept is in its task, which is the
 * supervisor's; it never sees the store.
 *
 * Descriptors: 3 the channel, 4 the candidate's image, 5 its changes, 6 the previous image or /dev/null, from 7 on the
 * files that the task names.
 */
import { writeSync } from 'node:fs';
import { AwsAccess } from '../aws/access.ts';
import type { ArchiveEntry } from '../bundle/archive.ts';
import type { SerialFloor } from '../bundle/policy.ts';
import { withAccepted } from '../checks/candidate.ts';
import { describeBug, SecretsfsError, SourceError } from '../errors.ts';
import { planGeneration } from '../generation/build.ts';
import { openUnwrapping } from '../keyring/keyring.ts';
import { bundleBytesMax, tarBytesMax } from '../limits.ts';
import { CallCounts } from '../metrics/calls.ts';
import type { FetchedBundle, Source } from '../source/source.ts';
import { SyncChannel } from './channel.ts';
import { enterChild, writeToLog } from './child.ts';
import { type ImageFiles, openPrevious, writePlan } from './image-files.ts';
import { checkMemory, ciphertextBytesMax, largerThanMemory, type MemoryLimits } from './memory-ceiling.ts';
import { createSource } from './sources.ts';
import { takeHere } from './take.ts';
import { openBundle, type Sealed } from './unseal.ts';
import {
  ALIVE_EVERY_MS,
  FILES_VARIABLE,
  type OpenedResult,
  parseTask,
  type UnsealerResult,
  type UnsealerTask,
} from './unsealer-channel.ts';

const CHANNEL_FD = 3;
const CANDIDATE_FD = 4;
const CHANGES_FD = 5;
const PREVIOUS_FD = 6;
/** What a link in /proc/self/fd says of a file, /dev/null included. */
const FILE = /^\//;

/** The year 10000. */
const INSTANT_MS_END = 253_402_300_800_000;

/** What is said of a generation, its bundle apart. */
type Written = Omit<OpenedResult, 'outcome' | 'revision' | 'sha256' | 'serial' | 'created' | 'uploaded'>;

export interface UnsealerFiles extends ImageFiles {
  readonly previousFd: number;
}

/** The unsealer as a process. Never returns. */
export async function runUnsealer(): Promise<never> {
  const more = Number(process.env[FILES_VARIABLE] ?? 0);
  enterChild({ role: 'unsealer', fds: [/^socket:/, FILE, FILE, FILE, ...Array<RegExp>(more).fill(FILE)] });
  const files = { candidateFd: CANDIDATE_FD, changesFd: CHANGES_FD, previousFd: PREVIOUS_FD };
  // Not node:net, which takes longer to load than all the rest.
  const channel = new SyncChannel(CHANNEL_FD);
  let result: UnsealerResult;
  const calls = new CallCounts();
  const alive = setInterval(() => channel.send({ alive: true }), ALIVE_EVERY_MS);
  try {
    result = await performTask(parseTask(channel.receive() ?? {}), files, calls);
  } catch (error) {
    result = failureOf(error);
  }
  clearInterval(alive);
  channel.send({ calls: calls.totals() });
  channel.send(result);
  process.exit();
}

function failureOf(error: unknown): UnsealerResult {
  if (error instanceof SecretsfsError) {
    const { code, message, hint, revision } = error;
    return {
      outcome: 'failed',
      code,
      message,
      ...(hint === undefined ? {} : { hint }),
      ...(revision === undefined ? {} : { revision }),
    };
  }
  writeToLog(`${JSON.stringify({ level: 50, event: 'bug', error: describeBug(error) })}\n`);
  return {
    outcome: 'failed',
    code: 'unsealer-failed',
    message: 'cannot open the bundle: internal error of the unsealer',
    hint: 'please report it; the log says where it is',
  };
}

/** Throws for bugs only. `calls`: where those of AWS are counted. */
export async function performTask(
  task: UnsealerTask,
  files: UnsealerFiles,
  calls: CallCounts,
): Promise<UnsealerResult> {
  const onCall = calls.add.bind(calls);
  const clients: AwsAccess[] = [];
  try {
    const aws = new AwsAccess({ env: process.env, onCall, ...task.aws });
    clients.push(aws);
    // Credentials are fetched once where they are the same.
    const isSame = JSON.stringify(task.aws) === JSON.stringify(task.sourceAws);
    const sourceAws = isSame ? aws : new AwsAccess({ env: process.env, onCall, ...task.sourceAws });
    clients.push(sourceAws);
    const taken = await takeHere<Written>({
      sources: [
        boundedByMemory(
          createSource(task.location, sourceAws, { opened: task.bundleFile ?? undefined }),
          task,
        ),
      ],
      bytesMax: bundleBytesMax(tarBytesMax(task)),
      open: (fetched, sha256, floor) => openAndWrite(fetched, { sha256, floor }, task, aws, files),
    })({
      source: 0,
      revision: task.revision ?? undefined,
      knownRevision: task.knownRevision ?? undefined,
      liveSha256: task.liveSha256 ?? undefined,
      floor: task.floor ?? undefined,
      signal: new AbortController().signal,
    });
    if (taken.outcome === 'unchanged') return taken;
    const { revision, sha256, opened } = taken;
    const { generation, serial, created, uploadedMs } = opened;
    return {
      outcome: 'opened',
      revision,
      sha256,
      serial,
      created,
      uploaded: instantOf(uploadedMs),
      ...generation,
    };
  } catch (error) {
    if (!(error instanceof SecretsfsError)) throw error;
    return failureOf(error);
  } finally {
    for (const client of clients) client.destroy();
  }
}

/** A source may say any time; what is none that can be written in the ordinary form is none. */
function instantOf(ms: number | undefined): string | null {
  return ms !== undefined && ms >= 0 && ms < INSTANT_MS_END ? new Date(ms).toISOString() : null;
}

/** Not a byte more is fetched than could be opened: then it is the memory that is too small. */
function boundedByMemory(source: Source, task: UnsealerTask): Pick<Source, 'fetch'> {
  const memory = memoryOf(task);
  const most = ciphertextBytesMax(memory);
  return {
    async fetch(options) {
      if (most >= options.bytesMax) return source.fetch(options);
      try {
        return await source.fetch({ ...options, bytesMax: most });
      } catch (error) {
        if (error instanceof SourceError && error.code === 'source-too-large') {
          throw largerThanMemory(memory);
        }
        throw error;
      }
    },
  };
}

async function openAndWrite(
  { bytes, uploadedMs }: FetchedBundle,
  { sha256, floor }: { readonly sha256: string; readonly floor: SerialFloor | undefined },
  task: UnsealerTask,
  aws: AwsAccess,
  files: UnsealerFiles,
) {
  const { acceptedKeys, keyFiles, supervisorUid, name, context, formats, bytesMax, filesMax } = task;
  const memory = memoryOf(task);
  const unwrapping = await openUnwrapping(acceptedKeys, aws, {
    files: new Map(Object.entries(keyFiles)),
    ownerUid: supervisorUid,
  });
  const nowMs = Date.now();
  const old = { formats, acceptedKeys, aws, uploadedMs };
  const policy = { name, context, floor, sha256, nowMs, bytesMax, filesMax, old };
  const build = async (header: Sealed, entries: readonly ArchiveEntry[]) => ({
    generation: await writeGeneration(entries, header.serial, nowMs, task, files),
    serial: header.serial,
    created: header.created,
  });
  const opened = await openBundle(bytes, policy, unwrapping, build, () => checkMemory(bytes.length, memory));
  if (task.keepFile !== null) handOn(bytes, task.keepFile);
  return opened;
}

/** Who copies it from there sees whether it is whole. */
function handOn(ciphertext: Buffer, fd: number): void {
  try {
    for (let at = 0; at < ciphertext.length; ) at += writeSync(fd, ciphertext, at);
  } catch {
    // Said above.
  }
}

function memoryOf({ memory, keepFile }: UnsealerTask): MemoryLimits {
  return { ...memory, isKept: keepFile !== null };
}

/** Checks, plans and writes what may go live of the candidate. */
async function writeGeneration(
  entries: readonly ArchiveEntry[],
  serial: number,
  nowMs: number,
  task: UnsealerTask,
  files: UnsealerFiles,
): Promise<Written> {
  const { generationId: id, checks, rules, preserve, owner, filesMax, bytesMax } = task;
  const previous = openPrevious(files.previousFd);
  const live = previous?.generation;
  const nowSeconds = Math.floor(nowMs / 1000);
  try {
    return await withAccepted(
      entries,
      { checks, rules, preserve, owner, nowMs, live, filesMax, bytesMax },
      (accepted, findings) => {
        const options = { id, serial, nowSeconds, previous: live, preserve: true };
        return { ...writePlan(planGeneration(accepted, options), files), ...findings };
      },
    );
  } finally {
    previous?.metadata.fill(0);
  }
}
