/** Names of files with wildcards, as the configurations of servers write them, looked up through a port. */

/** How a configuration reaches its files. */
export interface ConfigReader {
  read(file: string): Promise<string | undefined>;
  /** Names in a directory; empty where there is none. */
  list(directory: string): Promise<readonly string[]>;
}

/** More is no configuration of a machine. */
export const FILES_MAX = 1000;

/** glob(3), for absolute patterns with * ? and [...]: sorted; a pattern without any is itself. */
export async function expand(pattern: string, { list }: Pick<ConfigReader, 'list'>): Promise<string[]> {
  if (!/[*?[]/.test(pattern)) return [pattern];
  let found = [''];
  const parts = pattern.split('/').slice(1);
  for (const [i, part] of parts.entries()) {
    if (!/[*?[]/.test(part)) {
      found = found.map((each) => `${each}/${part}`);
      continue;
    }
    const matches = matcher(part);
    const next: string[] = [];
    for (const directory of found) {
      for (const name of await list(directory === '' ? '/' : directory)) {
        // A dot is matched by a dot alone.
        if (matches(name) && (part.startsWith('.') || !name.startsWith('.')))
          next.push(`${directory}/${name}`);
      }
    }
    found = next.slice(0, FILES_MAX);
    if (i === parts.length - 1) return found.sort();
  }
  return found.sort();
}

function matcher(part: string): (name: string) => boolean {
  let source = '';
  for (let at = 0; at < part.length; at += 1) {
    const c = part[at] as string;
    const end = c === '[' ? part.indexOf(']', at + 2) : -1;
    if (c === '*') source += '[^]*';
    else if (c === '?') source += '[^]';
    else if (end !== -1) {
      source += `[${part
        .slice(at + 1, end)
        .replace(/^!/, '^')
        .replace(/[\\[\]]/g, '\\$&')}]`;
      at = end;
    } else source += c.replace(/[.+^${}()|[\]\\/]/g, '\\$&');
  }
  try {
    const regex = new RegExp(`^${source}$`);
    return (name) => regex.test(name);
  } catch {
    // A range the wrong way round, [z-a], matches nothing.
    return () => false;
  }
}
