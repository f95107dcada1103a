/** Trees for the checks: a map from paths to contents, looked at as a candidate against what is live. */
import type { ArchiveEntry } from '../../src/bundle/archive.ts';
import { type CandidateOptions, withAccepted } from '../../src/checks/candidate.ts';
import type { Findings } from '../../src/checks/findings.ts';
import { type Checks, checksSchema } from '../../src/checks/settings.ts';
import { SecretsfsError } from '../../src/errors.ts';
import type { Generation } from '../../src/generation/generation.ts';
import { directory, file, Lineage, symlink } from './entries.ts';

export type Tree = Readonly<Record<string, string | Uint8Array | { readonly to: string }>>;

export const DAY_MS = 24 * 3_600_000;

/** As a config has them. */
export function checks(written: Record<string, unknown> = {}): Checks {
  return checksSchema.parse(written);
}

export function entriesOf(tree: Tree): ArchiveEntry[] {
  const directories = new Set<string>();
  for (const path of Object.keys(tree)) {
    for (let at = path.indexOf('/'); at > 0; at = path.indexOf('/', at + 1))
      directories.add(path.slice(0, at));
  }
  const files = Object.entries(tree).map(([path, content]) => {
    if (typeof content === 'string' || content instanceof Uint8Array) return file(path, content);
    return symlink(path, content.to);
  });
  return [...[...directories].map((path) => directory(path)), ...files];
}

export function liveOf(tree: Tree): Generation {
  return new Lineage().next(entriesOf(tree));
}

export interface Looked {
  /** Code and message of what was refused. */
  readonly refused: string | undefined;
  readonly warnings: readonly string[];
  /** All that was said, for canaries. */
  readonly said: string;
  readonly findings: Findings | undefined;
  /** What would go live. */
  readonly files: ReadonlyMap<string, string>;
}

export interface Looking extends Partial<Pick<CandidateOptions, 'filesMax' | 'bytesMax' | 'rules'>> {
  readonly checks?: Record<string, unknown>;
  readonly live?: Tree | Generation | undefined;
  /** From now. */
  readonly inDays?: number;
}

export async function look(tree: Tree | readonly ArchiveEntry[], looking: Looking = {}): Promise<Looked> {
  const { live, inDays = 0, rules = [], filesMax = 10_000, bytesMax = 1e9 } = looking;
  const entries = Array.isArray(tree) ? (tree as ArchiveEntry[]) : entriesOf(tree as Tree);
  const options: CandidateOptions = {
    ...{ rules, filesMax, bytesMax, preserve: false, owner: { uid: 0, gid: 0 } },
    checks: checks(looking.checks),
    nowMs: Date.now() + inDays * DAY_MS,
    live: live === undefined || 'nodeCount' in live ? (live as Generation | undefined) : liveOf(live),
  };
  try {
    return await withAccepted(entries, options, (accepted, findings) => ({
      refused: undefined,
      warnings: findings.findings.map(
        ({ path, rule, expected, found }) => `${path} (${rule}): found ${found}, want ${expected}`,
      ),
      said: JSON.stringify(findings),
      findings,
      files: new Map(
        accepted.flatMap((each) => (each.kind === 'file' ? [[each.path, textOf(each.data)]] : [])),
      ),
    }));
  } catch (error) {
    if (!(error instanceof SecretsfsError)) throw error;
    const { code, message, hint } = error;
    const refused = `${code}: ${message.replace('cannot accept bundle: ', '')}`;
    return { refused, warnings: [], said: `${message} ${hint}`, findings: undefined, files: new Map() };
  }
}

const textOf = (data: Uint8Array) => Buffer.from(data).toString('latin1');
