/** Runs checks beside each other, each with a time limit: one that hangs or throws is `unknown`, and holds up no other. */
import { SecretsfsError } from '../errors.ts';
import { AREAS, type Check, type Finding, unknown, type Verdict } from './finding.ts';
import type { Subject } from './subject.ts';

/** Longer than AWS's clients try by themselves. */
export const CHECK_MS_MAX = 30_000;

/** By area, then in the order of `checks`. Never throws. */
export async function runChecks(
  checks: readonly Check[],
  subject: Subject,
  timeoutMs = CHECK_MS_MAX,
): Promise<Finding[]> {
  const findings = await Promise.all(
    checks.map(async (check) => {
      const verdicts = await verdictsOf(check, subject, timeoutMs);
      const { id, area, what } = check;
      return verdicts.map(
        ({ state, found, fix }): Finding => ({ id, area, state, what, found, fix: fix ?? null }),
      );
    }),
  );
  return AREAS.flatMap((area) => findings.flat().filter((finding) => finding.area === area));
}

async function verdictsOf(check: Check, subject: Subject, timeoutMs: number): Promise<readonly Verdict[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Verdict>((resolve) => {
    const found = `no answer within ${timeoutMs / 1000} s`;
    timer = setTimeout(
      resolve,
      timeoutMs,
      unknown(found, 'find what hangs (a file system, the network), then run doctor again'),
    );
  });
  try {
    const verdict = await Promise.race([check.run(subject), late]);
    return verdict === undefined ? [] : Array.isArray(verdict) ? verdict : [verdict as Verdict];
  } catch (error) {
    return [unseen(error)];
  } finally {
    clearTimeout(timer);
  }
}

function unseen(error: unknown): Verdict {
  if (error instanceof SecretsfsError) {
    return unknown(`${error.message} (${error.code})`, error.hint ?? 'correct that, then run doctor again');
  }
  const { code, path } = error as NodeJS.ErrnoException;
  const where = path === undefined ? '' : ` ${JSON.stringify(path)}`;
  if (code === 'EACCES' || code === 'EPERM')
    return unknown(`may not look at${where}`, 'run as root: sudo secretsfs doctor');
  if (code !== undefined)
    return unknown(`cannot look at${where}: ${code}`, 'correct that, then run doctor again');
  // Its text may hold anything.
  return unknown(
    `this check failed: ${(error as Error)?.name ?? 'error'}`,
    'report it as a bug of secretsfs',
  );
}
