/** The built program in another version: a copy with some of its text replaced. */
import { chmod, cp, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { PROGRAM, REPOSITORY } from './paths.ts';

export interface Replacement {
  /** Or a directory: whichever of its files have it. */
  readonly file: string;
  readonly from: RegExp;
  readonly to: string;
}

/** Returns the program's path, in a new `directory`. Whoever runs as another user can read it. */
export async function otherProgram(
  directory: string,
  replacements: readonly Replacement[] = [],
): Promise<string> {
  await cp(path.dirname(PROGRAM), directory, { recursive: true });
  // Beside it: that is where a package's dependencies are looked for.
  await symlink(path.join(REPOSITORY, 'node_modules'), path.join(directory, 'node_modules'));
  await chmod(directory, 0o755);
  await chmod(path.dirname(directory), 0o711);
  for (const { file, from, to } of replacements) {
    let found = false;
    for (const each of await filesOf(path.join(directory, file))) {
      const text = await readFile(each, 'utf8');
      if (!from.test(text)) continue;
      found = true;
      await writeFile(each, text.replace(from, to));
    }
    if (!found) throw new Error(`${file} has nothing like ${from}`);
  }
  return path.join(directory, path.basename(PROGRAM));
}

async function filesOf(place: string): Promise<string[]> {
  if (!(await stat(place)).isDirectory()) return [place];
  return (await readdir(place)).map((name) => path.join(place, name));
}
