/** Times of a status as a person reads them: how long ago, how long until. */

const UNITS = [
  ['d', 24 * 3_600_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
] as const;

/** The two largest units that say something: 3 d 4 h, 12 min, 5 s. */
export function formatAge(ms: number): string {
  let rest = Math.max(0, ms);
  const parts: string[] = [];
  for (const [name, unitMs] of UNITS) {
    const count = Math.floor(rest / unitMs);
    rest -= count * unitMs;
    // Seconds beside minutes say nothing to anybody.
    if (parts.length === 1) {
      if (count > 0 && name !== 's') parts.push(`${count} ${name}`);
      break;
    }
    if (count > 0 || name === 's') parts.push(`${count} ${name}`);
  }
  return parts.join(' ');
}

/** `2026-11-22T22:56:37.384Z, 3 h ago`; what is no time stays as it is. */
export function since(time: string, nowMs: number): string {
  const ms = nowMs - Date.parse(time);
  return Number.isNaN(ms) ? time : `${time}, ${formatAge(ms)} ago`;
}

/** `2026-11-22T22:56:37.384Z, in 12 s` */
export function until(time: string, nowMs: number): string {
  const ms = Date.parse(time) - nowMs;
  return Number.isNaN(ms) ? time : `${time}, ${ms < 0 ? 'now' : `in ${formatAge(ms)}`}`;
}
