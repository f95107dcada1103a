/** What the checks found, as log and status tell it. */
import { expiryFinding, FINDINGS_MAX, type Findings } from '../checks/findings.ts';
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

/** Of what is live. Dates are looked at anew: a certificate comes to its end without a rotation. */
export function checksStatus(
  live: Findings | undefined,
  nowMs: number,
  { expiryWarning }: Checks,
): Pick<Status, 'warnings' | 'certificates' | 'kept'> {
  if (live === undefined) return {};
  const { findings, certificates, kept } = live;
  const lasting = findings.filter(({ rule }) => rule !== 'dates' && rule !== 'expiry');
  // One certificate may have several names.
  const bySerial = new Map(certificates.map((each) => [each.serial, each]));
  const dated = [...bySerial.values()].flatMap((each) => expiryFinding(each, nowMs, expiryWarning) ?? []);
  return {
    warnings: [...lasting, ...dated]
      .slice(0, FINDINGS_MAX)
      .map(({ path, rule, expected, found }) => ({ path, rule, expected, found })),
    certificates: certificates.map(({ path, serial, notAfter }) => ({ path, serial, notAfter })),
    kept: [...kept],
  };
}
