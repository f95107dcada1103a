/** How states of a mount are written in a status, whichever driver serves it. */
import type { GenerationStatus, RemountResult, Status } from '../control/protocol.ts';
import type { Failure, Live, Refreshed, RotationState } from './rotation.ts';

/** What a status says of refreshes. */
export function describeState(
  mounted: boolean,
  { lastCheck, failure }: RotationState<unknown>,
): Pick<Status, 'state' | 'lastCheck' | 'error'> {
  return {
    state: !mounted ? 'starting' : failure === undefined ? 'live' : 'failing',
    lastCheck: lastCheck === undefined ? null : { at: iso(lastCheck.atMs), outcome: lastCheck.outcome },
    error: failure === undefined ? null : describeFailure(failure),
  };
}

export function describeRefreshed<G>(
  result: Refreshed<G>,
  describeGeneration: (live: Live<G>) => GenerationStatus,
): RemountResult {
  const changes = result.outcome === 'activated' ? (result.changes ?? null) : null;
  return { outcome: result.outcome, generation: describeGeneration(result.live), changes };
}

function describeFailure({ error, sinceMs, attempts }: Failure): NonNullable<Status['error']> {
  const { code, message, hint } = error;
  return { code, message, ...(hint === undefined ? {} : { hint }), since: iso(sinceMs), attempts };
}

export function iso(ms: number): string {
  return new Date(ms).toISOString();
}
