/**
 * From what the source has to a candidate in the store: an unsealer does it, and the numbers by which the next bundle will
 * be measured are looked at here, because they are not its to choose.
 *
 * Invariant: a candidate that is not returned is overwritten and gone.
 */
import type { SerialFloor } from '../bundle/policy.ts';
import { MountError } from '../errors.ts';
import { SERIAL_AHEAD_MS_MAX } from '../limits.ts';
import type { CallTotal } from '../metrics/calls.ts';
import type { FileLane } from '../system/file-lane.ts';
import type { ProcessUser } from '../system/process-users.ts';
import type { Engine } from './engine.ts';
import type { Log } from './log.ts';
import type { Taken, TakeOptions } from './rotation-ports.ts';
import type { InStore } from './supervisor-options.ts';
import { type UnsealingOptions, unsealInto } from './unsealing.ts';

export interface TakingPorts {
  readonly engine: Pick<Engine, 'candidate' | 'discard' | 'storeBytes'>;
  readonly options: UnsealingOptions;
  readonly user: ProcessUser;
  readonly lane: FileLane;
  readonly log: Log;
  /** Gets the ciphertext of what is opened. */
  readonly keepFd?: number | undefined;
  /** Calls of AWS that an unsealer made. */
  readonly onCalls: (calls: readonly CallTotal[]) => void;
  /** The time of day. */
  readonly clockMs: () => number;
  /** unsealInto(), but for tests. */
  readonly unseal?: typeof unsealInto;
}

/** Rotation's port take(). Throws what unsealInto() throws, and MountError unsealer-failed for a serial that can't be. */
export async function takeInStore(
  { engine, options, user, lane, log, clockMs, keepFd, onCalls, unseal = unsealInto }: TakingPorts,
  { source, revision: wanted, knownRevision, liveSha256, floor, signal }: TakeOptions,
): Promise<Taken<InStore>> {
  const candidate = engine.candidate();
  try {
    const result = await unseal({
      options,
      user,
      candidate,
      source,
      revision: wanted,
      knownRevision,
      liveSha256,
      floor,
      keepFd,
      heldBytes: engine.storeBytes,
      lane,
      log,
      onCalls,
      signal,
    });
    if (result.outcome === 'unchanged') {
      await engine.discard(candidate);
      return result;
    }
    const { revision, sha256, serial, created, uploaded } = result;
    const uploadedMs = uploaded === null ? undefined : Date.parse(uploaded);
    checkSerial(serial, floor, clockMs());
    log.info('unsealed', { serial, revision, files: result.files, bytes: result.contentBytes });
    const opened = { generation: { candidate, result }, serial, created, uploadedMs };
    return { outcome: 'opened', revision, sha256, opened };
  } catch (error) {
    await engine.discard(candidate);
    throw error;
  }
}

function checkSerial(serial: number, floor: SerialFloor | undefined, nowMs: number): void {
  if (serial <= nowMs + SERIAL_AHEAD_MS_MAX && (floor === undefined || serial >= floor.serial)) return;
  throw new MountError('unsealer-failed', `cannot open the bundle: the unsealer says serial ${serial}`, {
    hint: 'a bundle of that serial is refused: the unsealer did not do its work, look at its lines in the log',
  });
}
