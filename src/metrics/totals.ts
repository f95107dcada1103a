/** Families of what a mount has counted. */
import type { CallTotal } from './calls.ts';
import type { Exposition } from './exposition.ts';
import { REFRESH_OUTCOMES, type Served, type Totals } from './snapshot.ts';

export function addTotals(exposition: Exposition, totals: Totals): void {
  const { refreshes, failures, lastSuccessMs, lastAnswerMs, calls, served } = totals;
  for (const outcome of REFRESH_OUTCOMES) {
    exposition.add('secretsfs_refreshes_total', refreshes[outcome], { outcome });
  }
  for (const [reason, count] of Object.entries(failures)) {
    exposition.add('secretsfs_refresh_failures_total', count, { reason });
  }
  exposition.add('secretsfs_last_success_time_seconds', seconds(lastSuccessMs), {});
  exposition.add('secretsfs_last_answer_time_seconds', seconds(lastAnswerMs), {});
  addCalls(exposition, 'unsealer', calls);
  if (served !== null) addServed(exposition, served);
}

/** `process`: who made them, since each counts from its own start. */
export function addCalls(exposition: Exposition, process: string, calls: readonly CallTotal[]): void {
  for (const { service, operation, outcome, count, seconds } of calls) {
    const labels = { process, service, operation, outcome };
    exposition.add('secretsfs_aws_calls_total', count, labels);
    exposition.add('secretsfs_aws_call_seconds_total', seconds, labels);
  }
}

function addServed(exposition: Exposition, served: Served): void {
  exposition.add('secretsfs_requests_total', served.requests, {});
  exposition.add('secretsfs_unknown_requests_total', served.unknownRequests, {});
  exposition.add('secretsfs_opens_total', served.opens, {});
  exposition.add('secretsfs_reads_total', served.reads, {});
  exposition.add('secretsfs_lookups_total', served.lookups, {});
  for (const { operation, boundsSeconds: bounds, buckets, sumSeconds: sum } of served.durations ?? []) {
    exposition.histogram('secretsfs_request_duration_seconds', { bounds, buckets, sum }, { operation });
  }
}

function seconds(ms: number | null): number | null {
  return ms === null ? null : ms / 1000;
}
