/** What somebody may have meant who wrote something that there is not. */

/** Shorter, a slip makes another word of it. */
const SHORT = 4;

/** The name that `given` is most likely a slip of, or the beginning of; undefined where none is near. */
export function nearest(given: string, names: readonly string[]): string | undefined {
  const plain = given.toLowerCase();
  const slips = names
    .map((name) => ({ name, distance: distanceOf(plain, name.toLowerCase()) }))
    .filter(({ name, distance }) => distance <= (Math.min(given.length, name.length) <= SHORT ? 1 : 2))
    .sort((a, b) => a.distance - b.distance);
  if (slips[0] !== undefined && given.length > 1) return slips[0].name;
  const begun = names.filter((name) => name.startsWith(plain));
  return plain.length > 2 ? begun[0] : undefined;
}

/** Letters more, fewer or other, or neighbours swapped: optimal string alignment. Texts are names, so short. */
export function distanceOf(a: string, b: string): number {
  let [before, above]: [number[], number[]] = [[], Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const other = a[i - 1] === b[j - 1] ? 0 : 1;
      let least = Math.min((above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (above[j - 1] ?? 0) + other);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        least = Math.min(least, (before[j - 2] ?? 0) + 1);
      row.push(least);
    }
    [before, above] = [above, row];
  }
  return above[b.length] ?? a.length;
}
