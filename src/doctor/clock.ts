/** This machine's clock against AWS's, by the Date of its answers. */
import { bucketsOf } from './bucket.ts';
import { settingsOf } from './credentials.ts';
import { type Check, ok, problem, warning } from './finding.ts';
import { keysOf } from './key.ts';
import { formatSpan } from './words.ts';

/** AWS refuses what was signed more than 5 minutes off. */
const REFUSED_MS = 5 * 60_000;
/** A bundle's serial is its author's time, and may be an hour ahead; logs are compared by the second. */
const DOUBTFUL_MS = 30_000;

export const clock: Check = {
  id: 'clock',
  area: 'machine',
  what: 'clock',
  async run(subject) {
    // Any answer has the time, a denial too.
    const asked = [
      ...bucketsOf(subject).map(({ bucket, cloud }) => cloud.bucket('versioning', bucket)),
      ...keysOf(subject).map(({ arn, cloud }) => cloud.key(arn)),
    ];
    if (asked.length === 0) return undefined;
    await Promise.allSettled(asked);
    const times = settingsOf(subject).flatMap((settings) => subject.cloud(settings).times());
    const worst = times.toSorted((a, b) => Math.abs(b.aheadMs) - Math.abs(a.aheadMs))[0];
    if (worst === undefined) return [];
    const { service, aheadMs } = worst;
    const off = `it is ${formatSpan(Math.abs(aheadMs))} ${aheadMs > 0 ? 'ahead of' : 'behind'} that of ${service}`;
    const fix = 'timedatectl set-ntp true; timedatectl timesync-status';
    if (Math.abs(aheadMs) >= REFUSED_MS) return problem(`${off}: AWS refuses what is signed so`, fix);
    if (Math.abs(aheadMs) >= DOUBTFUL_MS) return warning(off, fix);
    return ok(`as that of ${[...new Set(times.map((each) => each.service))].join(' and ')}`);
  },
};
