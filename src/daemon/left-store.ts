/**
 * The store of a mount whose unit is being stopped while no supervisor is there to wipe it: the next one has just begun, or the
 * one before has just ended. systemd keeps the store's descriptor until the unit is at its end, and what systemd has open is PID 1's.
 */
import { examine, isUsable, NAMES } from './handed.ts';
import { endUnusable } from './handover.ts';
import { readRecord } from './handover-record.ts';
import { heldDirectories } from './held-directories.ts';
import type { Log } from './log.ts';

/**
 * Unmounts and wipes what PID 1 holds of this instance; returns how many stores. For root, while the unit ends: nobody else may hold
 * them. What is no store of ours is not touched. Throws what failed, once all else is done. `holder`: another process than PID 1, for tests.
 */
export async function endLeftStores(instance: string, log: Log, holder = 1): Promise<number> {
  let ended = 0;
  const failures: unknown[] = [];
  for (const fd of heldDirectories(holder)) {
    const left = await examine([{ name: NAMES.store, fd }], Date.now());
    if (isUsable(left)) throw new Error('a store alone was gone on with');
    if (left.store !== undefined && readRecord(left.store.notes)?.same.instance === instance) {
      failures.push(...(await endUnusable(left, log)));
      ended += 1;
    } else left.store?.close();
  }
  if (failures.length > 0) throw failures[0];
  return ended;
}
