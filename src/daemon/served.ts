/** What the server counts in its page of the store, as metrics have it. */
import { LATENCY_BOUNDS_MS, readLatencies } from '../fuse/kernel/latencies.ts';
import type { Served } from '../metrics/snapshot.ts';
import type { Status } from '../store/shared.ts';

const BOUNDS_SECONDS = LATENCY_BOUNDS_MS.map((ms) => ms / 1000);

export function servedOf(status: Status): Served {
  const { requests, unknownRequests, opens, reads, lookups, latencies } = status;
  const durations = readLatencies(latencies).map(({ operation, buckets, sumMs }) => {
    return { operation, boundsSeconds: BOUNDS_SECONDS, buckets, sumSeconds: sumMs / 1000 };
  });
  return { requests, unknownRequests, opens, reads, lookups, durations };
}
