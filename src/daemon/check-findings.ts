/** What the checks found, as log and status tell it. */
import {
  bounded,
  expiryFinding,
  FINDINGS_BYTES_MAX,
  FINDINGS_MAX,
  type Findings,
  firstToExpire,
  KEPT_BYTES_MAX,
  KEPT_MAX,
  sharedOut,
} from '../checks/findings.ts';
import type { Checks } from '../checks/settings.ts';
import type { Status } from '../control/protocol.ts';
import type { Log } from './log.ts';

/** Of one bundle. */
const LOGGED_MAX = 20;

/** Warnings of what has just gone live. */
export function logWarnings(log: Log, { findings, warnings }: Findings): void {
  for (const { path, rule, expected, found } of findings.slice(0, LOGGED_MAX)) {
    log.warn('check-warning', { path, rule, expected, found });
  }
  const more = warnings - Math.min(findings.length, LOGGED_MAX);
  if (more > 0) log.warn('check-warning', { more });
}

type ChecksStatus = Pick<Status, 'warnings' | 'certificates' | 'kept'>;

/** Of what is live. Dates are looked at anew: a certificate comes to its end without a rotation. */
export function checksStatus(
  live: Findings | undefined,
  nowMs: number,
  { expiryWarning }: Checks,
): ChecksStatus {
  if (live === undefined) return {};
  const { findings, certificates, kept } = live;
  const lasting = findings.filter(({ rule }) => rule !== 'dates' && rule !== 'expiry');
  // One certificate may have several names.
  const bySerial = new Map(certificates.map((each) => [each.serial, each]));
  const dated = [...bySerial.values()].flatMap((each) => expiryFinding(each, nowMs, expiryWarning) ?? []);
  return {
    warnings: bounded([...lasting, ...dated], FINDINGS_MAX, FINDINGS_BYTES_MAX).map(
      ({ path, rule, expected, found }) => ({ path, rule, expected, found }),
    ),
    certificates: certificates.map(({ path, serial, notAfter }) => ({ path, serial, notAfter })),
    kept: [...kept],
  };
}

/** Of several bundles, by whole paths: no more than of one, for all of it is one message. */
export function joinChecks(all: readonly ChecksStatus[]): ChecksStatus {
  const warnings = all.map((each) => each.warnings ?? []);
  const kept = all.map((each) => each.kept ?? []);
  return {
    warnings: sharedOut(warnings, FINDINGS_MAX, FINDINGS_BYTES_MAX),
    certificates: firstToExpire(all.flatMap(({ certificates = [] }) => certificates)),
    kept: sharedOut(kept, KEPT_MAX, KEPT_BYTES_MAX),
  };
}
