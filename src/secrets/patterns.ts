/**
 * Which secrets a command is about. PURE. As the shell has it: `*` and `?` within a name, `**` as a whole part for any
 * number of parts, `{a,b}` for either; a comma outside of braces separates patterns; a slash at the beginning does not
 * count, and one at the end means everything below. Without any of `* ? {` a pattern is one path, taken literally.
 */
import { compileGlob, whyNotGlob } from '../checks/glob.ts';
import { quote, UsageError } from '../errors.ts';
import { whyNotPath } from './location.ts';

export interface PatternSet {
  /** What every path begins with that may match: all that has to be listed. */
  readonly prefix: string;
  /** Whether one of them matches. Remembers which did. */
  matches(path: string): boolean;
  /** Those that have matched nothing so far, as they were written. */
  unmatched(): readonly string[];
}

interface Pattern {
  readonly text: string;
  readonly prefix: string;
  readonly matches: (path: string) => boolean;
}

/** Patterns of all of a store: far more than anybody types, and what a listing is compared with. */
const PATTERNS_MAX = 1000;

/** Of none, everything. Throws UsageError for one that is malformed. */
export function compilePatterns(texts: readonly string[]): PatternSet {
  const split = texts.flatMap(splitAtCommas);
  if (split.length > PATTERNS_MAX) {
    throw new UsageError(`cannot use ${split.length} patterns: want at most ${PATTERNS_MAX}`, {
      hint: 'use fewer and wider ones: DIR/**',
    });
  }
  const patterns = split.map(compile);
  const missing = new Set(patterns);
  return {
    prefix: patterns.map(({ prefix }) => prefix).reduce(commonPrefix, patterns[0]?.prefix ?? ''),
    matches(path) {
      if (patterns.length === 0) return true;
      let found = false;
      for (const pattern of patterns) {
        if (!pattern.matches(path)) continue;
        missing.delete(pattern);
        found = true;
      }
      return found;
    },
    unmatched: () => [...missing].map(({ text }) => text),
  };
}

function compile(text: string): Pattern {
  const relative = text.replace(/^\/+/, '').replace(/\/$/, '/**');
  if (!/[*?{]/.test(relative)) {
    const why = whyNotPath(relative);
    if (why !== undefined) throw malformed(text, why);
    return { text, prefix: relative, matches: (path) => path === relative };
  }
  const why = whyNotGlob(relative);
  if (why !== undefined) throw malformed(text, why);
  const glob = compileGlob(relative);
  // What stands before the first wildcard; **, which may stand for no part at all, takes its slash with it.
  const literal = /^[^*?{]*/.exec(relative)?.[0] ?? '';
  const prefix = relative.startsWith('**', literal.length) ? literal.replace(/\/$/, '') : literal;
  return { text, prefix, matches: (path) => glob.match(path) !== undefined };
}

function malformed(text: string, why: string): UsageError {
  return new UsageError(`cannot use the pattern ${quote(text)}: it ${why}`, {
    hint: 'a pattern is a path with * and ? within a name, ** for any number of parts, {a,b} for either',
  });
}

/** Whether a pattern is one path, taken literally. */
export function isOnePath(pattern: string): boolean {
  return !/[*?{]|\/$/.test(pattern);
}

/** What stands above the first wildcard of a pattern, with the slash at its end, or above the last part of a path; '' for nothing. */
export function fixedPart(pattern: string): string {
  const relative = pattern.replace(/^\/+/, '');
  const fixed = isOnePath(relative) ? relative : (/^[^*?{]*/.exec(relative)?.[0] ?? '');
  return fixed.slice(0, fixed.lastIndexOf('/') + 1);
}

/** Each pattern of `text` by itself, malformed ones too. */
export function splitAtCommas(text: string): string[] {
  const parts = [''];
  let depth = 0;
  for (const character of text) {
    if (character === '{') depth++;
    if (character === '}') depth--;
    if (character === ',' && depth <= 0) parts.push('');
    else parts[parts.length - 1] += character;
  }
  return parts;
}

/** By code points: half of one is no text. */
function commonPrefix(a: string, b: string): string {
  const [left, right] = [[...a], [...b]];
  const end = left.findIndex((point, i) => point !== right[i]);
  return end < 0 ? a : left.slice(0, end).join('');
}
