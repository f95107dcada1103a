/**
 * Whether a candidate may go live, and what of it: the checks, `onBadFile`, and the `files:` rules. What comes out is to be
 * planned with `preserve`: its attributes are final.
 *
 * Where a bad file is kept, its live version goes into the new generation, and that of every file that belongs with it;
 * then all of it is checked again, until nothing is wrong. What can't be kept so is refused.
 */
import type { ArchiveEntry } from '../bundle/archive.ts';
import { assemble } from '../generation/assemble.ts';
import type { Generation } from '../generation/generation.ts';
import { type Checked, type CheckOptions, checkEntries, type FormatCheck } from './check.ts';
import { filesOfEntries, LiveFiles } from './files.ts';
import { boundFindings, type Findings, type Problem, refusalOf } from './findings.ts';
import { type FileRule, type Owner, ruledEntries } from './ownership.ts';
import type { Checks } from './settings.ts';

/** Each keeps at least one file more; what needs so many rounds is refused. */
const ROUNDS_MAX = 16;

export interface CandidateOptions extends Omit<CheckOptions, 'yamlProblem'> {
  readonly rules: readonly FileRule[];
  readonly preserve: boolean;
  /** Where no rule says it. */
  readonly owner: Owner;
  /** What is live; its contents must still be readable. */
  readonly live: Generation | undefined;
  /** Of what is made of candidate and live version. */
  readonly filesMax: number;
  readonly bytesMax: number;
}

/**
 * What is to be planned, handed to `use`: what was read of the live generation is wiped when that returns. Throws
 * BundleError check-failed or check-clock.
 */
export async function withAccepted<T>(
  entries: readonly ArchiveEntry[],
  options: CandidateOptions,
  use: (entries: readonly ArchiveEntry[], findings: Findings) => T,
): Promise<T> {
  const live = options.live === undefined ? undefined : new LiveFiles(options.live);
  const yamlProblem = await yamlProblemFor(options.checks);
  try {
    const accepted = await accept(entries, live, { ...options, yamlProblem });
    const { rules, preserve, owner } = options;
    return use(ruledEntries(accepted.entries, rules, { preserve, owner }), accepted.findings);
  } finally {
    live?.wipe();
  }
}

/** What there is to say of a tree, without anything live. */
export async function checkCandidate(
  entries: readonly ArchiveEntry[],
  options: Omit<CheckOptions, 'yamlProblem'>,
): Promise<Checked> {
  return checkEntries(entries, undefined, { ...options, yamlProblem: await yamlProblemFor(options.checks) });
}

/** The parser of YAML, where there is anything for it. */
async function yamlProblemFor({ formats }: Checks): Promise<FormatCheck | undefined> {
  if (!formats.some(({ format }) => format === 'yaml')) return undefined;
  return (await import('./yaml.ts')).yamlProblem;
}

async function accept(
  candidate: readonly ArchiveEntry[],
  live: LiveFiles | undefined,
  options: CandidateOptions & CheckOptions,
): Promise<{ readonly entries: readonly ArchiveEntry[]; readonly findings: Findings }> {
  const kept = new Set<string>();
  const reasons: Problem[] = [];
  let entries = candidate;
  for (let round = 0; ; round++) {
    const { problems, certificates, partners } = await checkEntries(entries, live, options);
    const refusals = problems.filter(({ level }) => level === 'refuse');
    if (refusals.length === 0) {
      return { entries, findings: boundFindings([...reasons, ...problems], certificates, [...kept].sort()) };
    }
    if (options.checks.onBadFile === 'refuse' || live === undefined || round === ROUNDS_MAX)
      throw refusalOf(refusals);
    reasons.push(...refusals);
    const before = new Set(kept);
    for (const problem of refusals) {
      const names = together(problem, partners);
      // The live version is no better, or there is none.
      if (names.every((name) => before.has(name))) throw refusalOf([problem]);
      for (const name of names) kept.add(name);
    }
    const next = keep(candidate, live, kept, options);
    if (next === undefined) throw refusalOf(refusals);
    entries = next;
  }
}

/** The names that a problem is about, and all that belong with them. */
function together(problem: Problem, partners: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const names = new Set(problem.partners ?? [problem.path]);
  for (const name of names) for (const partner of partners.get(name) ?? []) names.add(partner);
  return [...names];
}

/** The candidate with the live version of these; undefined where one of them has none that could stay. */
function keep(
  candidate: readonly ArchiveEntry[],
  live: LiveFiles,
  names: ReadonlySet<string>,
  { filesMax, bytesMax }: CandidateOptions,
): ArchiveEntry[] | undefined {
  const files = filesOfEntries(candidate);
  const kept = new Map<string, ArchiveEntry>();
  for (const name of names) {
    const was = live.open(name);
    if (was === undefined || was.indirect || files.open(name)?.indirect === true) return undefined;
    for (const entry of was.chain) kept.set(entry.path, entry);
  }
  const entries = assemble(candidate, [...kept.values()]);
  if (entries === undefined || entries.length > filesMax) return undefined;
  let bytes = 0;
  for (const entry of entries) if (entry.kind === 'file') bytes += entry.data.length;
  return bytes > bytesMax ? undefined : entries;
}
