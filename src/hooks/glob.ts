/**
 * Globs over paths inside a mount: `*` is any text without a slash, `?` one character but a slash, `**` as a whole component
 * any number of components, none included. Everything else is itself. Whole paths match, from the root of the mount.
 *
 * Names are the author's of the bundle, so matching takes time in proportion to pattern × path whatever they are.
 */

/** Whether the path matches. Neither begins or ends with a slash. */
export function matchesGlob(pattern: string, path: string): boolean {
  const patterns = pattern.split('/');
  return sequence(patterns, path.split('/'), (each) => each === '**', matchesName);
}

export function matchesAny(patterns: readonly string[], path: string): boolean {
  return patterns.some((pattern) => matchesGlob(pattern, path));
}

function matchesName(pattern: string, name: string): boolean {
  const one = (wanted: string, found: string) => wanted === '?' || wanted === found;
  return sequence([...pattern], [...name], (each) => each === '*', one);
}

/**
 * Items against pattern items, of which some stand for any number of items. Only the last of those passed is ever gone back
 * to: what an earlier one could take, the last one can take as well.
 */
function sequence(
  pattern: readonly string[],
  items: readonly string[],
  isAny: (pattern: string) => boolean,
  matches: (pattern: string, item: string) => boolean,
): boolean {
  let p = 0;
  let backP = -1;
  let backI = 0;
  for (let i = 0; i < items.length; ) {
    const wanted = pattern[p];
    if (wanted !== undefined && isAny(wanted)) {
      p += 1;
      backP = p;
      backI = i;
    } else if (wanted !== undefined && matches(wanted, items[i] as string)) {
      p += 1;
      i += 1;
    } else if (backP >= 0) {
      p = backP;
      backI += 1;
      i = backI;
    } else return false;
  }
  while (p < pattern.length && isAny(pattern[p] as string)) p += 1;
  return p === pattern.length;
}
