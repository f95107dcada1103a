/** What is not as it should be of a mount, in the words and codes of its status: for `status --check` and whoever looks at one. */
import type { Status } from '../control/protocol.ts';
import { EXIT_CODES, isErrorCode, quote, SecretsfsError } from '../errors.ts';

export interface Problem {
  /** What failed, as an error code; it says what the exit code is (docs/cli-abi.md). */
  readonly code: string;
  readonly text: string;
}

/** The worst first: nothing served, then what is old, then what does not reach those who should have it. */
export function problemsOf(mount: Status, nowMs: number): Problem[] {
  const { state, error, parts = [], hooks = [], probes = [], certificates = [], config } = mount;
  const problems: Problem[] = [];
  const add = (code: string, text: string) => problems.push({ code, text });
  if (state === 'starting') add('wait-timeout', 'it serves nothing yet');
  const failing = parts.flatMap((part) =>
    part.error === null ? [] : [{ ...part.error, of: part.directory }],
  );
  for (const each of failing) add(each.code, `${each.of}: ${each.message}`);
  // Of several bundles, it is the error of one of them.
  if (error !== null && failing.length === 0) add(error.code, error.message);
  for (const { path, notAfter } of certificates)
    if (Date.parse(notAfter) <= nowMs)
      add('check-clock', `the certificate ${quote(path)} ended at ${notAfter}`);
  if (config?.error != null) add(config.error.code, `the config is not applied: ${config.error.message}`);
  for (const { name, outcome, error: how } of hooks)
    if (outcome === 'failed') add('hook-failed', `the hook ${name} failed: ${how}`);
  for (const { hook, name, verdict } of probes)
    if (verdict === 'wrong' || verdict === 'unreachable')
      add(
        'hook-failed',
        `${name}, which the hook ${hook} looks after, ${verdict === 'wrong' ? 'serves another certificate' : "can't be reached"}`,
      );
  if (mount.successorProblem != null)
    add('upgrade-refused', `no server could take over: ${mount.successorProblem}`);
  return problems;
}

/** Of a code that only a newer daemon knows: that of `control`. */
export function exitCodeOf({ code }: Problem): number {
  return isErrorCode(code) ? new SecretsfsError(code, '').exitCode : EXIT_CODES.control;
}
