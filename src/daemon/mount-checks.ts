/** The programs that check a candidate of a mount. */
import type { ProcessUsers } from '../system/process-users.ts';
import { ExecChecks } from './exec-checks.ts';
import { mountRules } from './part-paths.ts';
import { trialProcesses } from './processes.ts';
import type { SupervisorOptions, SupervisorPorts } from './supervisor-options.ts';

/** undefined: there are none. Throws ConfigError. */
export async function mountChecks(
  options: SupervisorOptions,
  mountpoint: string,
  users: ProcessUsers,
  { log, nowMs }: Pick<SupervisorPorts, 'log' | 'nowMs'>,
): Promise<ExecChecks | undefined> {
  const { execChecks, instance, cache, fastOpen, preserve, parts } = options;
  if (execChecks.length === 0) return undefined;
  return ExecChecks.create(
    execChecks,
    { mountpoint, source: instance, cache, fastOpen, preserve, user: users.server },
    { ...trialProcesses(users, log, { rules: { current: mountRules(parts) } }), log, nowMs },
  );
}
