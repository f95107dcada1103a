/**
 * Globs of a config, matched against paths of a bundle: `*` and `?` within a name, `**` as a whole segment for any number
 * of segments (none too), `{a,b}` for either. Names that begin with a dot are like others. There is no escaping, and no
 * class in brackets.
 *
 * Patterns are the operator's and paths the author's: matching takes at most |pattern| × |path| steps, because only the
 * latest star is ever tried again. No regular expression keeps that promise.
 */
import { PATH_BYTES_MAX } from '../limits.ts';

export const GLOB_LENGTH_MAX = 512;
/** What its braces may stand for. */
const ALTERNATIVES_MAX = 64;
const SEGMENTS_MAX = 64;
const WILDCARD = /\*\*|[*?]/g;
const WILDCARD_IN_NAME = /[*?]/;

export interface Glob {
  readonly pattern: string;
  /** Whether it is one path and nothing else. */
  readonly literal: boolean;
  /**
   * What its wildcards stand for in `path`, in their order and as little as each can; undefined where it does not match.
   * `**` stands for segments and the slash after them.
   */
  match(path: string): readonly string[] | undefined;
}

/** Why a text is no glob, in words that follow it; undefined for one that is. */
export function whyNotGlob(pattern: string): string | undefined {
  if (pattern === '') return 'must not be empty';
  if (pattern.length > GLOB_LENGTH_MAX) return `must have at most ${GLOB_LENGTH_MAX} characters`;
  if (/[[\]\\()!\0\n]/.test(pattern)) return 'may have *, ?, ** and {a,b}, and none of [ ] \\ ( ) !';
  if (pattern.startsWith('/')) return 'must be a path below the mountpoint, without a slash at its beginning';
  const alternatives = expand(pattern);
  if (alternatives === undefined)
    return `may have braces for up to ${ALTERNATIVES_MAX} alternatives, not nested`;
  for (const alternative of alternatives) {
    const segments = alternative.split('/');
    if (segments.length > SEGMENTS_MAX) return `may be ${SEGMENTS_MAX} levels deep at the most`;
    for (const segment of segments) {
      if (segment === '' || segment === '.' || segment === '..')
        return 'must have no empty segment, no . and no ..';
      if (segment.includes('**') && segment !== '**') return 'may have ** as a whole segment only';
    }
  }
  return undefined;
}

/** Throws RangeError for what whyNotGlob() refuses. */
export function compileGlob(pattern: string): Glob {
  const why = whyNotGlob(pattern);
  if (why !== undefined) throw new RangeError(`a glob that ${why}`);
  const alternatives = (expand(pattern) as string[]).map((each) => each.split('/'));
  return {
    pattern,
    literal: alternatives.length === 1 && wildcardsOf(pattern).length === 0,
    match(path) {
      if (path.length > PATH_BYTES_MAX) return undefined;
      const segments = path === '' ? [] : path.split('/');
      for (const alternative of alternatives) {
        const found = matchSegments(alternative, segments);
        if (found !== undefined) return found;
      }
      return undefined;
    },
  };
}

/** The wildcards of a pattern, in their order. */
export function wildcardsOf(pattern: string): readonly string[] {
  return pattern.match(WILDCARD) ?? [];
}

/** The path that a pattern is where its wildcards stand for `captures`: those of another glob with the same ones. */
export function substitute(pattern: string, captures: readonly string[]): string {
  let next = 0;
  return pattern.replace(/\*\*\/|\*\*|[*?]/g, () => captures[next++] ?? '').replace(/\/$/, '');
}

/** The alternatives of braces; undefined for nested, open or too many. */
function expand(pattern: string): string[] | undefined {
  let expanded = [''];
  let at = 0;
  while (at < pattern.length) {
    const open = pattern.indexOf('{', at);
    const plain = pattern.slice(at, open < 0 ? pattern.length : open);
    if (plain.includes('}')) return undefined;
    expanded = expanded.map((before) => before + plain);
    if (open < 0) break;
    const close = pattern.indexOf('}', open);
    if (close < 0 || pattern.slice(open + 1, close).includes('{')) return undefined;
    const choices = pattern.slice(open + 1, close).split(',');
    if (expanded.length * choices.length > ALTERNATIVES_MAX) return undefined;
    expanded = expanded.flatMap((before) => choices.map((choice) => before + choice));
    at = close + 1;
  }
  return expanded;
}

/** As matchName(), with `**` for the star and names for characters. */
function matchSegments(pattern: readonly string[], path: readonly string[]): string[] | undefined {
  const captures: string[] = [];
  let at = 0;
  let of = 0;
  let star: { readonly at: number; of: number; readonly captures: number } | undefined;
  for (;;) {
    const segment = pattern[at];
    if (segment === '**') {
      star = { at, of, captures: captures.length };
      captures.push('');
      at++;
      continue;
    }
    if (segment === undefined && of === path.length) return captures;
    const found =
      of < path.length && segment !== undefined ? matchName(segment, path[of] as string) : undefined;
    if (found !== undefined) {
      captures.push(...found);
      at++;
      of++;
      continue;
    }
    if (star === undefined || star.of >= path.length) return undefined;
    // The latest ** takes one segment more.
    const taken = captures[star.captures] as string;
    captures.length = star.captures;
    captures.push(`${taken}${path[star.of]}/`);
    star.of++;
    at = star.at + 1;
    of = star.of;
  }
}

function matchName(pattern: string, name: string): string[] | undefined {
  if (!WILDCARD_IN_NAME.test(pattern)) return pattern === name ? [] : undefined;
  const captures: string[] = [];
  let at = 0;
  let of = 0;
  let star: { readonly at: number; of: number; readonly from: number; readonly captures: number } | undefined;
  for (;;) {
    const wanted = pattern[at];
    if (wanted === '*') {
      star = { at, of, from: of, captures: captures.length };
      captures.push('');
      at++;
      continue;
    }
    if (wanted === undefined && of === name.length) return captures;
    if (of < name.length && wanted === '?') {
      captures.push(name[of] as string);
      at++;
      of++;
      continue;
    }
    if (of < name.length && wanted === name[of]) {
      at++;
      of++;
      continue;
    }
    if (star === undefined || star.of >= name.length) return undefined;
    star.of++;
    captures.length = star.captures;
    captures.push(name.slice(star.from, star.of));
    at = star.at + 1;
    of = star.of;
  }
}
