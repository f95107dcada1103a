/** The certificates of a mount that end first, with what is left of them. */
import type { Status } from '../control/protocol.ts';
import { quote } from '../errors.ts';
import { type Line, red, yellow } from './status-line.ts';
import { plural } from './ui.ts';

const DAY_MS = 24 * 3_600_000;
/** The first to end; --json has all. */
const SHOWN = 5;

/** Yellow: the mount warns of it (checks.expiryWarning). */
export function certificateLines({ certificates = [], warnings = [] }: Status, nowMs: number): Line[] {
  const isSoon = new Set(warnings.filter(({ rule }) => rule === 'expiry').map(({ path }) => path));
  const soonest = [...certificates].sort((a, b) => Date.parse(a.notAfter) - Date.parse(b.notAfter));
  const lines = soonest.slice(0, SHOWN).map(({ path, serial, notAfter }): Line => {
    const days = Math.floor((Date.parse(notAfter) - nowMs) / DAY_MS);
    const text = (left: string) =>
      `  certificate ${quote(path)}, serial ${serial}, until ${notAfter}: ${left}`;
    if (days < 0) return red(text('expired'));
    const line = text(`${plural(days, 'day')} left`);
    return isSoon.has(path) ? yellow(line) : line;
  });
  const more = certificates.length - lines.length;
  return more > 0 ? [...lines, `  certificate and ${more} more: --json has all`] : lines;
}
