/**
 * Every metric of a mount. Names, types and labels are an ABI (docs/metrics.md): appended to, never changed.
 * Base units; a time is in seconds since 1970. A label's values are few: what a config names, or a list of this program.
 */
interface Described {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
}

export const METRICS = {
  // The mount.
  secretsfs_info: gauge('What this mount is; always 1', ['mount', 'name', 'mountpoint', 'driver', 'version']),
  secretsfs_start_time_seconds: gauge('When the mount was started'),
  secretsfs_state: gauge('1 for the state that status shows: starting, live, failing', ['state']),
  secretsfs_last_answer_time_seconds: gauge(
    'When the mount last answered a probe of its supervisor (kernel driver)',
  ),
  secretsfs_process_restarts_total: counter('How often another process took the place of one that ended', [
    'role',
  ]),
  secretsfs_successor_ready: gauge('1: another server could take over now, or is about to (kernel driver)'),

  // What is served.
  secretsfs_generation: gauge('Number of the live generation'),
  secretsfs_serial: gauge('Serial of the live bundle'),
  secretsfs_created_time_seconds: gauge('When the live bundle was sealed'),
  secretsfs_uploaded_time_seconds: gauge(
    'When the live bundle was put where it was found, where that is known',
  ),
  secretsfs_activated_time_seconds: gauge('When the live generation went live'),
  secretsfs_propagation_seconds: gauge(
    'From the upload of the live bundle to when it went live; of those that came after the start of the mount',
  ),
  secretsfs_files: gauge('Files of the live generation'),
  secretsfs_content_bytes: gauge('Their contents'),
  secretsfs_resident_bytes: gauge('Plaintext in memory, of all generations'),
  secretsfs_resident_limit_bytes: gauge('What plaintext may take, where memoryMax sets it'),
  secretsfs_lingering_generations: gauge('Superseded generations that are still held'),
  secretsfs_lingering_bytes: gauge('Their plaintext'),
  secretsfs_lingering_since_time_seconds: gauge('Since when the oldest of them is superseded'),

  // Rotation.
  secretsfs_refreshes_total: counter('Looks for a bundle, by what they came to', ['outcome']),
  secretsfs_refresh_failures_total: counter('Those that failed, by error code', ['reason']),
  secretsfs_last_success_time_seconds: gauge(
    'When a look last found that the newest bundle is live, or made it so',
  ),
  secretsfs_failing: gauge('1 while the newest bundle is not live, by error code', ['reason']),
  secretsfs_failing_since_time_seconds: gauge('Since when that is so', ['reason']),
  secretsfs_source_state: gauge(
    '1 for the state of each source, in the order of the config: unasked, live, behind, refused, failed',
    ['source', 'state'],
  ),
  secretsfs_queue_listening: gauge('1 while the queue of events is listened to'),
  secretsfs_queue_messages_total: counter('Messages of the queue that concern a source'),
  secretsfs_floor_serial: gauge('No bundle below this serial goes live'),
  secretsfs_floor_kept: gauge('1: it is kept over a restart'),

  secretsfs_stale: gauge(
    '1: what is live was kept on the disk, and no source had it since the start (with cacheDir)',
  ),
  secretsfs_cache_kept: gauge('1: what is live is kept on the disk (with cacheDir)'),
  secretsfs_cache_confirmed_time_seconds: gauge('When a source last had what is kept (with cacheDir)'),

  // Of each of several bundles, by its directory.
  secretsfs_part_failing: gauge('1 while the newest bundle of this part is not live, by error code', [
    'part',
    'reason',
  ]),
  secretsfs_part_failing_since_time_seconds: gauge('Since when that is so', ['part', 'reason']),
  secretsfs_part_serial: gauge('Serial of the live bundle of this part', ['part']),
  secretsfs_part_uploaded_time_seconds: gauge('When it was put where it was found, where that is known', [
    'part',
  ]),
  secretsfs_part_activated_time_seconds: gauge('When it went live', ['part']),
  secretsfs_part_source_state: gauge('As secretsfs_source_state, of this part', ['part', 'source', 'state']),
  secretsfs_part_floor_serial: gauge('No bundle of this part below this serial goes live', ['part']),

  // Content.
  secretsfs_check_warnings: gauge('What the checks say of what is live, at most 100'),
  secretsfs_kept_files: gauge('Files that are served as an earlier bundle had them'),
  secretsfs_certificates: gauge('Leaf certificates in the live generation'),
  secretsfs_certificate_first_not_after_time_seconds: gauge('When the first of them expires'),
  secretsfs_certificate_not_after_time_seconds: gauge(
    'When that of a file expires: the first 200 to do so, with metrics.fileLabels',
    ['path'],
  ),

  // Telling others.
  secretsfs_hook_runs_total: counter('Runs of a hook', ['hook']),
  secretsfs_hook_failures_total: counter('Those that failed', ['hook']),
  secretsfs_hook_failing: gauge('1: the last run of the hook failed', ['hook']),
  secretsfs_probe_verdict: gauge('1 for what a probe last found: served, wrong, unreachable, unknown', [
    'hook',
    'probe',
    'verdict',
  ]),
  secretsfs_probe_serial_info: gauge(
    'Serials of certificates, in hex: the one served and the one that should be',
    ['hook', 'probe', 'served', 'expected'],
  ),
  secretsfs_probe_served_since_time_seconds: gauge('Since when that serial is served', ['hook', 'probe']),
  secretsfs_probe_propagation_seconds: gauge('From the upload to when it was first seen served', [
    'hook',
    'probe',
  ]),
  secretsfs_probe_checked_time_seconds: gauge('When a probe last looked', ['hook', 'probe']),

  // Requests.
  secretsfs_requests_total: counter('Requests of the kernel (kernel driver)'),
  secretsfs_unknown_requests_total: counter('Those that were malformed, or of no known kind (kernel driver)'),
  secretsfs_opens_total: counter('Files opened; with fastOpen, none of it is seen'),
  secretsfs_reads_total: counter('Reads that the page cache did not answer'),
  secretsfs_lookups_total: counter('Names looked up that the kernel did not have (kernel driver)'),
  secretsfs_request_duration_seconds: histogram(
    'From taking a request to its answer, of one request in 17 (kernel driver)',
    ['operation'],
  ),

  // AWS.
  secretsfs_aws_calls_total: counter(
    'Calls of AWS services, by what they came to; retries are part of a call',
    ['process', 'service', 'operation', 'outcome'],
  ),
  secretsfs_aws_call_seconds_total: counter('How long they took, together', [
    'process',
    'service',
    'operation',
    'outcome',
  ]),
} as const satisfies Readonly<Record<string, Described>>;

export type MetricName = keyof typeof METRICS;

function gauge<const L extends readonly string[] = readonly []>(
  help: string,
  labels: L = [] as unknown as L,
) {
  return { type: 'gauge', help, labels } as const;
}

function counter<const L extends readonly string[] = readonly []>(
  help: string,
  labels: L = [] as unknown as L,
) {
  return { type: 'counter', help, labels } as const;
}

function histogram<const L extends readonly string[]>(help: string, labels: L) {
  return { type: 'histogram', help, labels } as const;
}
