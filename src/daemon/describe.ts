/** How states of a mount are written in a status. */
import type { Status } from '../control/protocol.ts';
import type { Failure } from './rotation.ts';

export function describeFailure({ error, sinceMs, attempts }: Failure): NonNullable<Status['error']> {
  const { code, message, hint } = error;
  return { code, message, ...(hint === undefined ? {} : { hint }), since: iso(sinceMs), attempts };
}

export function iso(ms: number): string {
  return new Date(ms).toISOString();
}
