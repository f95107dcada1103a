/**
 * Who owns what and may do what with it: the `files:` rules of a config, applied to a tree. The same function makes the
 * attributes of a new generation (in the unsealer) and finds those that no rule gives (in the server, which does not
 * believe the unsealer): applied to its own result it changes nothing.
 *
 * The first rule whose glob matches a path counts. A directory that a rule matches can be searched by whom the rule lets
 * read; and beyond rules, every directory can be searched, not listed, by whom something below it is open to: by the
 * group where that is one, else by everybody. A symlink is root's, whatever it leads to.
 */
import type { ArchiveEntry } from '../bundle/archive.ts';
import type { Generation } from '../generation/generation.ts';
import { compileGlob } from './glob.ts';

/** One of `files:`, with users and groups as numbers. */
export interface FileRule {
  readonly match: string;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  /** Nine bits. */
  readonly mode?: number | undefined;
}

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** `mode`: nine bits. */
interface Attributes extends Owner {
  readonly mode: number;
}

interface Node {
  readonly path: string;
  readonly kind: ArchiveEntry['kind'];
  /** Where no rule says it. */
  readonly before: Attributes;
}

const OWNER_BITS = 0o700;
const READ_BITS = 0o444;
const SEARCH_BITS = 0o111;
const GROUP_SEARCH = 0o010;
const GROUP_BITS = 0o070;
const OTHER_BITS = 0o007;
const SYMLINK_MODE = 0o777;
const ROOT = { kind: 'directory', path: '', mode: 0o755, uid: 0, gid: 0 } as const;

/** What of the tree below a directory is open to others than its owner: to which groups, and whether to everybody. */
interface Needs {
  readonly groups: Set<number>;
  everybody: boolean;
}

/**
 * The entries with the attributes that a generation is to have, all directories and the root among them: to be planned
 * with `preserve`. Where no rule matches, everything is `owner`'s alone; with `preserve` it is as it was packed.
 */
export function ruledEntries(
  entries: readonly ArchiveEntry[],
  rules: readonly FileRule[],
  options: { readonly preserve: boolean; readonly owner: Owner },
): ArchiveEntry[] {
  const all: readonly ArchiveEntry[] = entries.some(({ path }) => path === '') ? entries : [ROOT, ...entries];
  const nodes = all.map((entry): Node => {
    const { path, kind, mode, uid, gid } = entry;
    const before = options.preserve
      ? { mode: mode & 0o777, uid, gid }
      : { mode: mode & OWNER_BITS, ...options.owner };
    return { path, kind, before };
  });
  const attributes = applyRules(nodes, rules, options.owner);
  return all.map((entry, i) => ({ ...entry, ...(attributes[i] as Attributes) }));
}

/** Whether no rule, and nothing that is root's alone, explains something in a generation; says what it is. */
export function whyNotRuled(generation: Generation, rules: readonly FileRule[]): string | undefined {
  const owner = { uid: 0, gid: 0 };
  const paths: string[] = [];
  const nodes: Node[] = [];
  for (let node = 0; node < generation.nodeCount; node++) {
    // Parents come before what is in them.
    const parent = paths[generation.parent(node)] ?? '';
    const path =
      node === 0 ? '' : parent === '' ? generation.name(node) : `${parent}/${generation.name(node)}`;
    paths.push(path);
    const kind = generation.isDirectory(node) ? 'directory' : generation.isSymlink(node) ? 'symlink' : 'file';
    nodes.push({ path, kind, before: { mode: generation.mode(node) & OWNER_BITS, ...owner } });
  }
  const wanted = applyRules(nodes, rules, owner);
  for (let node = 0; node < generation.nodeCount; node++) {
    const { uid, gid, mode } = wanted[node] as Attributes;
    if (generation.uid(node) !== uid || generation.gid(node) !== gid)
      return 'something has an owner that no rule gives it';
    if (!generation.isSymlink(node) && (generation.mode(node) & 0o777) !== mode)
      return 'something has a mode that no rule gives it';
  }
  return undefined;
}

function applyRules(nodes: readonly Node[], rules: readonly FileRule[], owner: Owner): Attributes[] {
  const compiled = rules.map((rule) => ({ rule, glob: compileGlob(rule.match) }));
  const ruleOf = (path: string) => compiled.find(({ glob }) => glob.match(path) !== undefined)?.rule;
  const needs = new Map<string, Needs>();
  const result: Attributes[] = new Array(nodes.length);
  const directories: { readonly index: number; readonly depth: number }[] = [];
  nodes.forEach(({ path, kind, before }, index) => {
    if (kind === 'directory') {
      directories.push({ index, depth: path === '' ? 0 : path.split('/').length });
    } else if (kind === 'symlink') {
      result[index] = { ...owner, mode: SYMLINK_MODE };
    } else {
      const rule = ruleOf(path);
      const made = {
        uid: rule?.uid ?? before.uid,
        gid: rule?.gid ?? before.gid,
        mode: rule?.mode ?? before.mode,
      };
      result[index] = made;
      need(needs, path, made, owner);
    }
  });
  // The deepest first: what one must let through, those above it must, too.
  directories.sort((a, b) => b.depth - a.depth);
  for (const { index } of directories) {
    const { path, before } = nodes[index] as Node;
    const rule = ruleOf(path);
    const made = searchable(before, rule, needs.get(path));
    result[index] = made;
    if (path !== '') need(needs, path, made, owner);
  }
  return result;
}

/** Notes for the directory of `path` whom it must let through. */
function need(needs: Map<string, Needs>, path: string, { uid, gid, mode }: Attributes, owner: Owner): void {
  const everybody = (mode & OTHER_BITS) !== 0 || (uid !== owner.uid && (mode & OWNER_BITS) !== 0);
  const group = (mode & GROUP_BITS) !== 0;
  if (!everybody && !group) return;
  const directory = path.slice(0, Math.max(path.lastIndexOf('/'), 0));
  const known = needs.get(directory) ?? { groups: new Set<number>(), everybody: false };
  if (everybody) known.everybody = true;
  if (group) known.groups.add(gid);
  needs.set(directory, known);
}

function searchable(before: Attributes, rule: FileRule | undefined, below: Needs | undefined): Attributes {
  const uid = rule?.uid ?? before.uid;
  let gid = rule?.gid ?? before.gid;
  let mode = rule?.mode === undefined ? before.mode : rule.mode | ((rule.mode & READ_BITS) >> 2);
  if (below === undefined) return { uid, gid, mode };
  const [only] = below.groups;
  if (below.groups.size === 1 && rule?.gid === undefined && (mode & GROUP_BITS) === 0) gid = only as number;
  const others = below.everybody || [...below.groups].some((group) => group !== gid);
  // Without the group's bit, everybody but that group could search it.
  if (below.groups.size > 0 || others) mode |= GROUP_SEARCH;
  if (others) mode |= SEARCH_BITS;
  return { uid, gid, mode };
}
