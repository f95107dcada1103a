/** Families of what a status says. A time that it does not have is no sample. */
import type { PartStatus, ProbeStatus, Status } from '../control/protocol.ts';
import type { Exposition } from './exposition.ts';

/** What a scrape tells by name: series cost whoever keeps them. */
const CERTIFICATES_MAX = 200;

const STATES: readonly Status['state'][] = ['starting', 'live', 'failing'];
const SOURCE_STATES: readonly SourceStatus['state'][] = ['unasked', 'live', 'behind', 'refused', 'failed'];
const VERDICTS: readonly ProbeStatus['verdict'][] = ['served', 'wrong', 'unreachable', 'unknown'];
type SourceStatus = NonNullable<Status['sources']>[number];

export function addStatus(exposition: Exposition, status: Status, fileLabels: boolean): void {
  addMount(exposition, status);
  addLive(exposition, status);
  addRotation(exposition, status);
  addCaches(exposition, status);
  for (const part of status.parts ?? []) addPart(exposition, part);
  addContent(exposition, status, fileLabels);
  for (const { name: hook, runs, failures, outcome } of status.hooks ?? []) {
    exposition.add('secretsfs_hook_runs_total', runs, { hook });
    exposition.add('secretsfs_hook_failures_total', failures, { hook });
    exposition.add('secretsfs_hook_failing', outcome === null ? null : Number(outcome === 'failed'), {
      hook,
    });
  }
  for (const probe of status.probes ?? []) addProbe(exposition, probe);
}

function addMount(exposition: Exposition, status: Status): void {
  const { instance, name, mountpoint, driver, version, started, processes, successorProblem } = status;
  exposition.add('secretsfs_info', 1, { mount: instance, name, mountpoint, driver, version });
  exposition.add('secretsfs_start_time_seconds', seconds(started), {});
  for (const state of STATES) exposition.add('secretsfs_state', Number(status.state === state), { state });
  for (const { role, restarts } of processes ?? []) {
    if (role !== 'supervisor' && role !== 'successor')
      exposition.add('secretsfs_process_restarts_total', restarts, { role });
  }
  if (successorProblem !== undefined) {
    exposition.add('secretsfs_successor_ready', Number(successorProblem === null), {});
  }
}

function addLive(exposition: Exposition, { live, lingering, memory, started }: Status): void {
  exposition.add('secretsfs_generation', live?.id, {});
  exposition.add('secretsfs_serial', live?.serial, {});
  exposition.add('secretsfs_created_time_seconds', seconds(live?.created), {});
  exposition.add('secretsfs_uploaded_time_seconds', seconds(live?.uploaded), {});
  exposition.add('secretsfs_activated_time_seconds', seconds(live?.activated), {});
  if (live?.uploaded && Date.parse(live.uploaded) >= Date.parse(started)) {
    const took = Date.parse(live.activated) - Date.parse(live.uploaded);
    // Two clocks may differ.
    exposition.add('secretsfs_propagation_seconds', Math.max(0, took / 1000), {});
  }
  exposition.add('secretsfs_files', live?.files, {});
  exposition.add('secretsfs_content_bytes', live?.bytes, {});
  let lingeringBytes = 0;
  for (const { bytes } of lingering) lingeringBytes += bytes;
  exposition.add('secretsfs_resident_bytes', memory?.storeBytes ?? (live?.bytes ?? 0) + lingeringBytes, {});
  exposition.add('secretsfs_resident_limit_bytes', memory?.maxBytes, {});
  exposition.add('secretsfs_lingering_generations', lingering.length, {});
  exposition.add('secretsfs_lingering_bytes', lingeringBytes, {});
  const since = lingering.flatMap(({ heldSince }) => seconds(heldSince) ?? []);
  if (since.length > 0) exposition.add('secretsfs_lingering_since_time_seconds', Math.min(...since), {});
}

function addRotation(exposition: Exposition, { error, sources, queue, floor }: Status): void {
  if (error !== null) {
    exposition.add('secretsfs_failing', 1, { reason: error.code });
    exposition.add('secretsfs_failing_since_time_seconds', seconds(error.since), { reason: error.code });
  }
  sources?.forEach((each, source) => {
    for (const state of SOURCE_STATES) {
      exposition.add('secretsfs_source_state', Number(each.state === state), { source: `${source}`, state });
    }
  });
  if (queue) {
    exposition.add('secretsfs_queue_listening', Number(queue.state === 'listening'), {});
    exposition.add('secretsfs_queue_messages_total', queue.messages, {});
  }
  if (floor !== undefined) {
    exposition.add('secretsfs_floor_serial', floor.serial, {});
    exposition.add('secretsfs_floor_kept', Number(floor.problem === null), {});
  }
}

/** Of several, what is worst. */
function addCaches(exposition: Exposition, { bundleCache, parts = [] }: Status): void {
  const caches = [bundleCache, ...parts.map((part) => part.bundleCache)].flatMap((cache) => cache ?? []);
  if (caches.length === 0) return;
  exposition.add('secretsfs_stale', Number(caches.some(({ stale }) => stale)), {});
  exposition.add('secretsfs_cache_kept', Number(caches.every(({ problem }) => problem === null)), {});
  const confirmed = caches.flatMap((cache) => seconds(cache.confirmed) ?? []);
  if (confirmed.length > 0)
    exposition.add('secretsfs_cache_confirmed_time_seconds', Math.min(...confirmed), {});
}

function addPart(exposition: Exposition, { directory: part, error, live, sources, floor }: PartStatus): void {
  if (error !== null) {
    const labels = { part, reason: error.code };
    exposition.add('secretsfs_part_failing', 1, labels);
    exposition.add('secretsfs_part_failing_since_time_seconds', seconds(error.since), labels);
  }
  exposition.add('secretsfs_part_serial', live?.serial, { part });
  exposition.add('secretsfs_part_uploaded_time_seconds', seconds(live?.uploaded), { part });
  exposition.add('secretsfs_part_activated_time_seconds', seconds(live?.activated), { part });
  sources.forEach((each, source) => {
    for (const state of SOURCE_STATES) {
      const labels = { part, source: `${source}`, state };
      exposition.add('secretsfs_part_source_state', Number(each.state === state), labels);
    }
  });
  exposition.add('secretsfs_part_floor_serial', floor.serial, { part });
}

function addContent(exposition: Exposition, status: Status, fileLabels: boolean): void {
  const { warnings, kept, certificates } = status;
  exposition.add('secretsfs_check_warnings', warnings?.length, {});
  exposition.add('secretsfs_kept_files', kept?.length, {});
  if (certificates === undefined) return;
  exposition.add('secretsfs_certificates', certificates.length, {});
  const dated = certificates
    .map(({ path, notAfter }) => ({ path, notAfter: seconds(notAfter) ?? 0 }))
    .sort((a, b) => a.notAfter - b.notAfter);
  exposition.add('secretsfs_certificate_first_not_after_time_seconds', dated[0]?.notAfter, {});
  if (!fileLabels) return;
  for (const { path, notAfter } of dated.slice(0, CERTIFICATES_MAX)) {
    exposition.add('secretsfs_certificate_not_after_time_seconds', notAfter, { path });
  }
}

function addProbe(exposition: Exposition, probe: ProbeStatus): void {
  const labels = { hook: probe.hook, probe: probe.name };
  for (const verdict of VERDICTS) {
    exposition.add('secretsfs_probe_verdict', Number(probe.verdict === verdict), { ...labels, verdict });
  }
  const expected = probe.expectedSerial ?? '';
  // Whatever answers the probe chooses its serial: it is not to choose the number of series as well.
  const served =
    probe.servedSerial === null || probe.servedSerial === expected ? (probe.servedSerial ?? '') : 'other';
  exposition.add('secretsfs_probe_serial_info', 1, { ...labels, served, expected });
  exposition.add('secretsfs_probe_served_since_time_seconds', seconds(probe.since), labels);
  const { propagationMs } = probe;
  exposition.add(
    'secretsfs_probe_propagation_seconds',
    propagationMs === null ? null : propagationMs / 1000,
    labels,
  );
  exposition.add('secretsfs_probe_checked_time_seconds', seconds(probe.checked), labels);
}

/** Of an ISO time; undefined where there is none. */
function seconds(iso: string | null | undefined): number | undefined {
  return iso === null || iso === undefined ? undefined : Date.parse(iso) / 1000;
}
