/**
 * What systemd is about to do with the service that this process is of. A service is told to end in the same way whether it is
 * to be started again or not; what was asked for stands in the job.
 */
import { readFile } from 'node:fs/promises';
import { run } from './run.ts';

/** systemd answers in a few milliseconds; who waits for it meanwhile is somebody who wants us to end. */
const ASK_MS_MAX = 3_000;

export interface ServiceState {
  /** `restart`: it is ended and started again. */
  readonly job: string | undefined;
  /** How many descriptors systemd keeps for it. */
  readonly descriptors: number;
}

/** `run`: of system/run.ts, but for tests. */
export interface SystemdSources {
  cgroup(): Promise<string>;
  readonly run: typeof run;
}

const machine: SystemdSources = { cgroup: () => readFile('/proc/self/cgroup', 'utf8'), run };

/** undefined where that can't be learnt. Never throws. */
export async function serviceState(sources: SystemdSources = machine): Promise<ServiceState | undefined> {
  const unit = unitOf(await sources.cgroup().catch(() => ''));
  if (unit === undefined) return undefined;
  const ask = (...args: string[]) => sources.run('systemctl', args, ASK_MS_MAX);
  const [jobs, kept] = await Promise.all([
    ask('list-jobs', '--no-legend', '--no-pager', '--plain', '--full', unit),
    ask('show', '--value', '--property=NFileDescriptorStore', unit),
  ]);
  if (jobs.code !== 0 || kept.code !== 0 || !/^\d+\n?$/.test(kept.stdout)) return undefined;
  return { job: jobOf(jobs.stdout, unit), descriptors: Number(kept.stdout) };
}

/** The service in the text of /proc/PID/cgroup: proc_pid_cgroup(5). It may have made groups of its own below. */
export function unitOf(cgroup: string): string | undefined {
  const paths = cgroup.split('\n').flatMap((line) => {
    const [, path] = /^\d+:(?:|name=systemd):(\/.*)$/.exec(line) ?? [];
    return path === undefined ? [] : [path];
  });
  return paths.flatMap((path) => path.split('/')).findLast((name) => /^[^/\s-][^/\s]*\.service$/.test(name));
}

/** The type of the unit's job in what `systemctl list-jobs` prints: JOB UNIT TYPE STATE, a line each. */
export function jobOf(listed: string, unit: string): string | undefined {
  for (const line of listed.split('\n')) {
    const [, named, type] = line.trim().split(/\s+/);
    if (named === unit) return type;
  }
  return undefined;
}
