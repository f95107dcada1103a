/** The built program in another version: a copy with some of its text replaced. */
import { chmod, cp, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { PROGRAM, REPOSITORY } from './paths.ts';

export interface Replacement {
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
    const text = await readFile(path.join(directory, file), 'utf8');
    if (!from.test(text)) throw new Error(`${file} has nothing like ${from}`);
    await writeFile(path.join(directory, file), text.replace(from, to));
  }
  return path.join(directory, path.basename(PROGRAM));
}
