/** How states of a mount are written in a status, whichever driver serves it. */
import type { GenerationStatus, RemountResult, Status } from '../control/protocol.ts';
import type { SecretsfsError } from '../errors.ts';
import type { NoticingState } from './agent-channel.ts';
import type { Failure, Live, Refreshed, RotationState } from './rotation-ports.ts';

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
  return { ...describeError(error), since: iso(sinceMs), attempts };
}

/** When and where the next bundle is looked for, and what is known of each source. */
export function describeNoticing(
  { sources: states, nextAttempt }: RotationState<unknown>,
  sources: readonly { readonly bundle: string }[],
  noticing: NoticingState | undefined,
): Pick<Status, 'sources' | 'nextCheck' | 'nextAttempt' | 'queue'> {
  const { nextLookMs = null, queue = null } = noticing ?? {};
  return {
    sources: states.map(({ state, revision, checkedMs, error, sinceMs, attempts }, i) => ({
      bundle: sources[i]?.bundle ?? '',
      state,
      revision: revision ?? null,
      lastCheck: checkedMs === undefined ? null : iso(checkedMs),
      error:
        error === undefined || sinceMs === undefined
          ? null
          : { ...describeError(error), since: iso(sinceMs), attempts },
    })),
    nextCheck: nextLookMs === null ? null : iso(nextLookMs),
    nextAttempt:
      nextAttempt === undefined ? null : { at: iso(nextAttempt.atMs), limited: nextAttempt.limited },
    queue:
      queue === null
        ? null
        : {
            state: queue.state,
            messages: queue.messages,
            lastMessage: queue.heardMs === null ? null : iso(queue.heardMs),
            error: queue.error,
          },
  };
}

function describeError({ code, message, hint }: SecretsfsError) {
  return { code, message, ...(hint === undefined ? {} : { hint }) };
}

export function iso(ms: number): string {
  return new Date(ms).toISOString();
}
