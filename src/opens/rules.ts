/**
 * Who may open which file: the rules of `access:`, of which the first that matches a path counts. A file that no rule matches
 * is left to its owner and mode. Nobody is exempt, root neither.
 */
import { compileGlob, type Glob } from '../checks/glob.ts';
import type { Generation } from '../generation/generation.ts';

/** All that it names must be so. */
export interface Allowed {
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  /** A glob. */
  readonly unit?: string | undefined;
}

export interface OpenRule {
  readonly match: string;
  /** Any of them. */
  readonly allow: readonly Allowed[];
}

/** What the server is told of opens: `access:` with users and groups looked up, and `audit`. */
export interface OpensSettings {
  readonly rules: readonly OpenRule[];
  readonly audit: boolean;
}

/** Who opens. What is behind a function costs a look at /proc. */
export interface Opener {
  readonly uid: number;
  readonly gid: number;
  /** Its supplementary groups; none where they are not to be seen. */
  groups(): readonly number[];
  unit(): string | undefined;
}

interface CompiledRule {
  readonly match: string;
  readonly glob: Glob;
  readonly allow: readonly (Allowed & { readonly unitGlob: Glob | undefined })[];
}

const UNKNOWN = 0;
const NONE = 1;
const FIRST = 2;

export class OpenRules {
  readonly #rules: readonly CompiledRule[];
  /** Of each node which rule counts: UNKNOWN, NONE, or FIRST and its place. */
  readonly #known = new WeakMap<Generation, Uint8Array>();

  constructor(rules: readonly OpenRule[]) {
    this.#rules = rules.map(({ match, allow }) => ({
      match,
      glob: compileGlob(match),
      allow: allow.map((each) => ({
        ...each,
        unitGlob: each.unit === undefined ? undefined : compileGlob(each.unit),
      })),
    }));
  }

  mayOpen(generation: Generation, node: number, opener: Opener): boolean {
    const rule = this.#ruleOf(generation, node);
    return rule === undefined || rule.allow.some((each) => isAllowed(each, opener));
  }

  /** Of a path that is in no generation yet: the `match` of the rule that refuses it; undefined: none does. */
  refusing(path: string, opener: Opener): string | undefined {
    const rule = this.#rules.find(({ glob }) => glob.match(path) !== undefined);
    return rule?.allow.some((each) => isAllowed(each, opener)) === false ? rule.match : undefined;
  }

  #ruleOf(generation: Generation, node: number): CompiledRule | undefined {
    if (this.#rules.length === 0) return undefined;
    let known = this.#known.get(generation);
    if (known === undefined) {
      known = new Uint8Array(generation.nodeCount);
      this.#known.set(generation, known);
    }
    if (known[node] === UNKNOWN) {
      const path = pathOf(generation, node);
      const found = this.#rules.findIndex(({ glob }) => glob.match(path) !== undefined);
      known[node] = found < 0 ? NONE : FIRST + found;
    }
    return this.#rules[(known[node] as number) - FIRST];
  }
}

function isAllowed({ uid, gid, unitGlob }: CompiledRule['allow'][number], opener: Opener): boolean {
  if (uid !== undefined && uid !== opener.uid) return false;
  if (gid !== undefined && gid !== opener.gid && !opener.groups().includes(gid)) return false;
  if (unitGlob === undefined) return true;
  const unit = opener.unit();
  return unit !== undefined && unitGlob.match(unit) !== undefined;
}

/** From the root, without a slash at its beginning. */
export function pathOf(generation: Generation, node: number): string {
  const names: string[] = [];
  for (let at = node; at !== 0; at = generation.parent(at)) names.unshift(generation.name(at));
  return names.join('/');
}
