/** Paths inside a part, as they are in the mount. Pure. */
import type { Findings } from '../checks/findings.ts';
import type { FileRule } from '../checks/ownership.ts';

/** Rules match inside their part and nowhere else. */
function prefixedRules(directory: string, rules: readonly FileRule[]): FileRule[] {
  return rules.map((rule) => ({ ...rule, match: `${directory}/${rule.match}` }));
}

/** Files, directories and symlinks of a whole mount at the most, the root and the directories of parts among them. */
export function nodesMax(
  parts: readonly { readonly directory: string | undefined; readonly filesMax: number }[],
): number {
  return parts.reduce(
    (sum, { directory, filesMax }) => sum + filesMax + (directory === undefined ? 0 : 1),
    1,
  );
}

/** Of a whole mount, by whole paths. */
export function mountRules(
  parts: readonly { readonly directory: string | undefined; readonly rules: readonly FileRule[] }[],
): readonly FileRule[] {
  return parts.flatMap(({ directory, rules }) =>
    directory === undefined ? rules : prefixedRules(directory, rules),
  );
}

/** '' is the mount itself. */
export function prefixedFindings(
  directory: string,
  { findings, warnings, certificates, kept }: Findings,
): Findings {
  const at = <T extends { readonly path: string }>(each: T): T => ({
    ...each,
    path: directory === '' ? each.path : `${directory}/${each.path}`,
  });
  return {
    findings: findings.map(at),
    warnings,
    certificates: certificates.map(at),
    kept: kept.map((path) => at({ path }).path),
  };
}
