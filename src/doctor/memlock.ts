/** Memory that may be locked: the mount of the kernel driver does not start without it (src/system/locking.ts). */
import { REPLY_BYTES_MAX } from '../fuse/kernel/init.ts';
import { type Check, ok, problem, warning } from './finding.ts';
import { runningPid } from './memory.ts';
import { type Subject, unitName } from './subject.ts';
import { lastOf } from './units.ts';
import { formatMiB } from './words.ts';

export const memlock: Check = {
  id: 'memlock',
  area: 'memory',
  what: 'memory that may be locked (RLIMIT_MEMLOCK)',
  async run(subject) {
    const { plan, machine } = subject;
    const { bytes, of } = await limitOf(subject);
    // fuse-native locks all of a generation, and goes on where it may not.
    const isNative = plan === undefined ? machine.uid !== 0 : plan.driver === 'fuse-native';
    const generations = isNative ? (plan?.parts ?? []).map(({ bytesMax }) => bytesMax) : [];
    const needed = Math.max(REPLY_BYTES_MAX, ...generations);
    if (bytes >= needed) return ok(`${formatMiB(bytes)}, of ${of}`);
    const found = `${bytes} bytes, of ${of}, want ${needed}`;
    const fix = `LimitMEMLOCK=infinity in the unit (systemctl edit ${unitName(subject.instance)}); in a shell: ulimit -l unlimited`;
    return isNative
      ? warning(`${found}: what can't be locked can be swapped out`, fix)
      : problem(`${found}: the mount does not start`, fix);
  },
};

interface Limit {
  /** Infinity: none. */
  readonly bytes: number;
  readonly of: string;
}

/** Of the mount that runs, of its unit, or else of this shell, which a mount without a unit is started from. */
async function limitOf(subject: Subject): Promise<Limit> {
  const pid = await runningPid(subject);
  const unit = pid === undefined ? await subject.mountUnit() : undefined;
  const said = unit === undefined ? undefined : bytesOf(lastOf(unit, 'LimitMEMLOCK')?.value ?? '');
  if (said !== undefined) return { bytes: said, of: 'the unit' };
  const text = (await subject.machine.read(`/proc/${pid ?? 'self'}/limits`)) ?? '';
  const soft = /^Max locked memory\s+(\d+)/m.exec(text)?.[1];
  const of = pid === undefined ? 'this shell' : 'the mount';
  return { bytes: soft === undefined ? Number.POSITIVE_INFINITY : Number(soft), of };
}

/** systemd.exec(5): "infinity", or bytes with K, M, G or T; the soft limit before a colon. undefined: none of these. */
function bytesOf(value: string): number | undefined {
  const [soft = ''] = value.split(':');
  if (soft === 'infinity') return Number.POSITIVE_INFINITY;
  const [, digits, suffix = ''] = /^(\d+)([KMGT]?)$/.exec(soft) ?? [];
  return digits === undefined ? undefined : Number(digits) * 1024 ** ' KMGT'.indexOf(suffix || ' ');
}
