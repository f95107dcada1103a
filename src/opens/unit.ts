/**
 * Which systemd unit a process is in, by its control group (systemd.slice(5), cgroups(7)). The first name on the way down that
 * is no slice: what stands below it is the unit's own to name, and in a user's service manager anybody could call something
 * `nginx.service`.
 */

const SLICE = /\.slice$/;
const UNIT = /\.(service|scope|socket|mount|swap|automount)$/;
const UNIT_LENGTH_MAX = 256;

/**
 * `cgroup`: /proc/PID/cgroup. systemd keeps units in version 2, or, where that has no controllers, in a hierarchy of its own.
 * Undefined for a process in no unit, or one whose group is out of sight.
 */
export function unitOf(cgroup: string): string | undefined {
  const lines = cgroup.split('\n');
  return unitIn(lines, '0::/') ?? unitIn(lines, ':name=systemd:/');
}

function unitIn(lines: readonly string[], hierarchy: string): string | undefined {
  const line = lines.find((each) => each.replace(/^\d+(?=:name=)/, '').startsWith(hierarchy));
  const names = line?.slice(line.indexOf(':/') + 2).split('/') ?? [];
  const first = names.find((name) => !SLICE.test(name));
  return first !== undefined && UNIT.test(first) && first.length <= UNIT_LENGTH_MAX ? first : undefined;
}
