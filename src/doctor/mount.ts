/** The running mount: whether it answers, and what it says of itself. */
import type { Status } from '../control/protocol.ts';
import { quote, SecretsfsError, shellQuote } from '../errors.ts';
import { topMount } from '../system/mountinfo.ts';
import { type Check, ok, problem, type Verdict, warning } from './finding.ts';
import { unitName } from './subject.ts';

export const answers: Check = {
  id: 'mount',
  area: 'mount',
  what: 'mount answers',
  async run(subject) {
    const { machine, plan, instance } = subject;
    if (plan === undefined) return undefined;
    const status = await subject.status();
    const there = topMount(await machine.mounts(), plan.mountpoint);
    const start =
      (await subject.mountUnit()) === undefined
        ? 'secretsfs mount --config FILE'
        : `systemctl start ${unitName(instance)}`;
    if (status === undefined || status instanceof SecretsfsError) {
      if (there?.fstype === 'fuse.secretsfs' && status?.code === 'control-not-running')
        return problem(
          `${quote(plan.mountpoint)} is mounted and nobody serves it: readers get errors`,
          `umount -l ${shellQuote(plan.mountpoint)}; ${start}`,
        );
      if (status?.code === 'control-not-running') return warning('it is not running', start);
      return problem(`${status?.message} (${status?.code})`, status?.hint ?? start);
    }
    const verdicts: Verdict[] = [];
    if (status.mountpoint !== plan.mountpoint)
      verdicts.push(
        warning(
          `it is mounted at ${quote(status.mountpoint)}, the config says ${quote(plan.mountpoint)}`,
          `systemctl restart ${unitName(instance)}`,
        ),
      );
    const at = shellQuote(status.mountpoint);
    const { stdout, timedOut, found } = await machine.run('stat', [
      '-f',
      '-c',
      '%T',
      '--',
      status.mountpoint,
    ]);
    const command =
      status.driver === 'kernel'
        ? `the supervisor replaces its server by itself: journalctl -u ${unitName(instance)}`
        : start;
    if (timedOut) verdicts.push(problem(`${quote(status.mountpoint)} does not answer`, command));
    else if (found && stdout.trim() === '')
      verdicts.push(problem(`${quote(status.mountpoint)} can't be looked at`, `umount -l ${at}; ${start}`));
    if (status.error !== null)
      verdicts.push(
        problem(
          `${status.error.message} (${status.error.code}), since ${status.error.since}`,
          status.error.hint ?? 'secretsfs status',
        ),
      );
    else if (status.state === 'starting')
      verdicts.push(
        warning('it serves nothing yet', `secretsfs wait ${status.instance}; its log says what it waits for`),
      );
    if (status.config != null && status.config.restartNeeded.length > 0)
      verdicts.push(
        warning(
          `a restart is needed for ${status.config.restartNeeded.join(', ')} of the config`,
          `systemctl restart ${unitName(instance)}`,
        ),
      );
    for (const { name, error } of (status.hooks ?? []).filter(({ outcome }) => outcome === 'failed'))
      verdicts.push(
        problem(`the hook ${name} failed: ${error}`, `secretsfs hook run ${name} ${status.instance}`),
      );
    verdicts.push(...doubts(status));
    return verdicts.length > 0
      ? verdicts
      : ok(`${status.state}, serial ${status.live?.serial ?? 'none'}, driver ${status.driver}`);
  },
};

/** What fails one day, and does not yet. */
function doubts({ instance, bundleCache, floor, successorProblem }: Status): Verdict[] {
  const verdicts: Verdict[] = [];
  const again = `secretsfs remount ${instance}`;
  if (bundleCache?.stale === true)
    verdicts.push(
      warning(
        `it serves what was kept on the disk, which a source last had at ${bundleCache.confirmed}`,
        `mend what is said of its source, then ${again}`,
      ),
    );
  if (bundleCache?.problem != null)
    verdicts.push(warning(`no bundle is kept on the disk for the next start: ${bundleCache.problem}`, again));
  if (floor?.problem != null)
    verdicts.push(warning(`the serial is forgotten at the next start: ${floor.problem}`, again));
  if (successorProblem != null)
    verdicts.push(
      warning(
        `no server could take over: ${successorProblem}`,
        'install a version of the program that can serve this mount: it is tried again',
      ),
    );
  return verdicts;
}
