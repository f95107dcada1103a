/** A snapshot of a mount as Prometheus' text. Pure; status.ts and totals.ts have the families. */
import type { CallTotal } from './calls.ts';
import { Exposition } from './exposition.ts';
import type { Snapshot } from './snapshot.ts';
import { addStatus } from './status.ts';
import { addCalls, addTotals } from './totals.ts';

export interface MetricsOptions {
  /** Whether files may be told by name. */
  readonly fileLabels: boolean;
  /** Of the process that renders. */
  readonly ownCalls: readonly CallTotal[];
}

export function renderMetrics(
  { status, totals }: Snapshot,
  { fileLabels, ownCalls }: MetricsOptions,
): string {
  const exposition = new Exposition();
  addStatus(exposition, status, fileLabels);
  addTotals(exposition, totals);
  addCalls(exposition, 'agent', ownCalls);
  return exposition.toString();
}
