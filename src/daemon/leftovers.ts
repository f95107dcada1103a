/** What the process before this one left with systemd, where this one does not go on with it. */
import { Handover } from './handover.ts';
import type { Log } from './log.ts';
import { endHanded } from './mount-engine.ts';

/** Unmounts and wipes it, if there is anything; another call does nothing. Never throws. */
export async function endLeftovers(log: Log, why: string): Promise<void> {
  const ports = { log, nowMs: () => performance.timeOrigin + performance.now() };
  const how = { retireAfterMs: 0, consistencyWindowMs: 0 };
  const handover = new Handover({ ...ports, end: (handed) => endHanded(handed, how, ports) });
  await handover.takeNothing(why);
}
