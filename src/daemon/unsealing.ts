/**
 * Opens what the source has, in a process of its own. The files that the settings name are opened here, as root, and passed
 * on; what may be accepted is said here, so that neither the unsealer nor the agent can choose it.
 */
import { openSync } from 'node:fs';
import { freemem } from 'node:os';
import type { OldFormat } from '../bundle/old-format-names.ts';
import type { SerialFloor } from '../bundle/policy.ts';
import type { FileRule } from '../checks/ownership.ts';
import type { Checks } from '../checks/settings.ts';
import { parseAcceptedKey } from '../keyring/spec.ts';
import { bundleBytesMax, changesBytesMax, metadataBytesMax, tarBytesMax } from '../limits.ts';
import type { CallTotal } from '../metrics/calls.ts';
import { memoryHeadroom } from '../system/cgroups.ts';
import type { FileLane } from '../system/file-lane.ts';
import { closeQuietly } from '../system/files.ts';
import type { ProcessUser } from '../system/process-users.ts';
import type { AwsSettings } from './agent-channel.ts';
import type { Candidate } from './candidate.ts';
import { isLocalFile } from './location.ts';
import type { Log } from './log.ts';
import type { MountSource } from './mount-options.ts';
import { spawnUnsealer } from './processes.ts';
import { FILES_FD, type OpenedResult, type UnsealerTask, unseal } from './unsealer-channel.ts';

/** A gibibyte from a slow network, opened by a slow CPU. What takes longer hangs. */
const UNSEAL_MS_MAX = 30 * 60_000;

/** An unsealer speaks while it waits; while it decrypts and unpacks it does not, at a few hundred MB/s on any CPU of today. */
const SILENCE_MS = 20_000;
const WORK_BYTES_A_MS = 8_000;

export interface UnsealingOptions {
  readonly sources: readonly MountSource[];
  readonly name: string;
  readonly acceptedKeys: readonly string[];
  readonly context: Readonly<Record<string, string>>;
  readonly formats: readonly OldFormat[];
  readonly bytesMax: number;
  readonly filesMax: number;
  readonly preserve: boolean;
  readonly checks: Checks;
  readonly rules: readonly FileRule[];
  readonly memoryMax: number | undefined;
  readonly aws: AwsSettings;
}

export interface UnsealingRequest {
  readonly options: UnsealingOptions;
  readonly user: ProcessUser;
  readonly candidate: Candidate;
  /** By its place in their order. */
  readonly source: number;
  /** Exactly what is to be opened; undefined: the newest. */
  readonly revision: string | undefined;
  readonly knownRevision: string | undefined;
  readonly liveSha256: string | undefined;
  readonly floor: SerialFloor | undefined;
  /** Gets the ciphertext, if it is opened. */
  readonly keepFd: number | undefined;
  /** What the store holds already. */
  readonly heldBytes: number;
  /** What the settings name is opened in it. */
  readonly lane: FileLane;
  readonly log: Log;
  /** Calls of AWS that it made, whatever became of them. */
  readonly onCalls: (calls: readonly CallTotal[]) => void;
  readonly signal: AbortSignal;
}

/**
 * Fills the candidate. Nobody writes to it any more when this returns or throws. Throws what the unsealer failed with,
 * with the revision that it is about, and the signal's reason.
 */
export async function unsealInto(
  request: UnsealingRequest,
): Promise<OpenedResult | { readonly outcome: 'unchanged'; readonly revision: string }> {
  const { options, user, candidate, knownRevision, revision, liveSha256, floor } = request;
  const { heldBytes, keepFd, lane, log, onCalls, signal } = request;
  const source = options.sources[request.source];
  if (source === undefined) throw new Error('there is no such source');
  const { bundle } = source;
  const { name, acceptedKeys, context, formats, bytesMax, filesMax, preserve, memoryMax, aws } = options;
  const devNull = openSync('/dev/null', 'r');
  const opened: number[] = [];
  const open = async (path: string): Promise<number | string> => {
    try {
      opened.push(await lane.openRegular(path, signal));
      return FILES_FD + opened.length - 1;
    } catch (error) {
      signal.throwIfAborted();
      // The unsealer says what is wrong, as it does for what it opens itself.
      return (error as NodeJS.ErrnoException).code ?? 'EIO';
    }
  };
  try {
    const bundleFile = isLocalFile(bundle) ? await open(bundle) : null;
    const keyFiles: Record<string, number | string> = {};
    for (const spec of acceptedKeys.map(parseAcceptedKey)) {
      if (spec.kind === 'local') keyFiles[spec.path] = await open(spec.path);
    }
    const task: UnsealerTask = {
      location: bundle,
      bundleFile,
      keepFile: keepFd === undefined ? null : FILES_FD + opened.length,
      knownRevision: knownRevision ?? null,
      revision: revision ?? null,
      liveSha256: liveSha256 ?? null,
      floor: floor ?? null,
      name,
      context,
      formats: [...formats],
      acceptedKeys: [...acceptedKeys],
      keyFiles,
      supervisorUid: process.getuid?.() ?? 0,
      bytesMax,
      filesMax,
      preserve,
      checks: options.checks,
      rules: [...options.rules],
      owner: { uid: 0, gid: 0 },
      aws,
      sourceAws: source.aws,
      generationId: candidate.id,
      memory: { availableBytes: await availableMemory(), heldBytes, maxBytes: memoryMax ?? null },
    };
    const { imageFd, changesFd, previousFd } = candidate;
    const kept = keepFd === undefined ? [] : [keepFd];
    const files = [imageFd, changesFd, previousFd ?? devNull, ...opened, ...kept];
    const child = spawnUnsealer(user, files, imageBytesMax(options), log);
    const silenceMs = silenceMsMax(bytesMax);
    return await unseal(child, task, { timeoutMs: UNSEAL_MS_MAX, silenceMs, signal, onCalls });
  } finally {
    closeQuietly(devNull);
    lane.close(...opened);
  }
}

function silenceMsMax(bytesMax: number): number {
  return SILENCE_MS + bytesMax / WORK_BYTES_A_MS;
}

/** No sparse file of it may look larger than that, the ciphertext that it hands on included: whoever reads it back would fill the memory. */
function imageBytesMax({ bytesMax, filesMax }: UnsealingOptions): number {
  const nodesMax = filesMax + 1;
  const ciphertextMax = bundleBytesMax(tarBytesMax({ bytesMax, filesMax }));
  return Math.max(changesBytesMax(nodesMax), metadataBytesMax(nodesMax) + bytesMax, ciphertextMax);
}

/** What the machine and every control group above us leave. */
export async function availableMemory(): Promise<number> {
  // On Linux, os.freemem() is MemAvailable.
  return Math.min(freemem(), (await memoryHeadroom()) ?? Number.POSITIVE_INFINITY);
}
