/**
 * The programs of the children: files beside ours, looked for at each start, so that one that was upgraded is taken. An
 * upgrade may have given one another name, which a supervisor from before does not know.
 */
import { existsSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { MountError, quote } from '../errors.ts';

/** All that a supervisor starts. */
export const SCRIPTS = [
  'server.mjs',
  'prober.sh',
  'teller.mjs',
  'notifier.mjs',
  'agent.mjs',
  'unsealer.mjs',
  'composer.mjs',
  'trial.mjs',
  'haproxy.mjs',
] as const;

/** Of the program that is on disk now: where a package was upgraded, the path leads to the new one. Throws MountError. */
export function programDirectory(): string {
  const program = process.argv[1] ?? '';
  try {
    return path.dirname(realpathSync(program));
  } catch (cause) {
    throw new MountError('driver-missing', `cannot start a process: ${quote(program)} is gone`, {
      hint: 'install the program again: it is looked for at each start',
      cause,
    });
  }
}

/** For a script that is about to be started. Throws MountError driver-missing, where it would show as a child that ends at once. */
export function checkScript(script: string): void {
  if (existsSync(script)) return;
  throw new MountError('driver-missing', `cannot start a process: ${quote(script)} is missing`, {
    hint: 'the program on disk is another version, which calls it otherwise: restart the mount, or install the old one',
  });
}

/** Whether the program on disk has all of them. Throws MountError upgrade-refused. */
export function checkScripts(): void {
  const directory = programDirectory();
  const missing = SCRIPTS.filter((script) => !existsSync(path.join(directory, script)));
  if (missing.length === 0) return;
  throw new MountError(
    'upgrade-refused',
    `cannot upgrade: the program in ${quote(directory)} has no ${missing.join(', no ')}`,
    {
      hint: 'its processes have other names than those that this mount starts: unmount it and mount it again; until then keep the old program',
    },
  );
}
