/**
 * What hooks and checks run, and whom they send keys to: nobody may be able to put something else there but root and the user
 * as whom it is run, who could do the same without us. Looked at when a mount starts and, because that may change, before
 * each run.
 */
import { closeSync } from 'node:fs';
import path from 'node:path';
import { ConfigError, quote } from '../errors.ts';
import { type Untrusted, type Walked, type WalkOptions, walk } from '../system/trusted.ts';
import type { Account } from '../system/users.ts';

const EXECUTABLE = 0o111;

/** An argv, and who runs it. */
export interface Command {
  readonly argv: readonly [string, ...string[]];
  readonly user: Account;
}

/**
 * The program, and each argument that is the path of a file: interpreters take their script there, servers their configuration.
 * The way to it counts whatever is there: who may exchange it can do so between the look and the run. Of directories, sockets
 * and devices themselves, and of what is inside the mount, nothing is asked. `mountpoint`: must never be waited for here. Throws
 * ConfigError: config-untrusted; config-invalid where argv[0] is no program.
 */
export function checkCommand({ argv, user }: Command, mountpoint: string): void {
  const options: WalkOptions = { avoid: mountpoint, owner: user.uid === 0 ? undefined : user };
  const [program, ...args] = argv;
  checkProgram(program, options);
  for (const arg of args) {
    const file = pathIn(arg);
    const problem = file === undefined ? undefined : untrustedFile(file, options);
    if (problem === undefined) continue;
    throw untrusted(
      `use argument ${quote(file ?? '')} of ${quote(program)}`,
      problem,
      ': whoever may write there could choose what it does; name what is only data in a script',
    );
  }
}

/**
 * Whether there is something at the path of a socket. Throws ConfigError config-untrusted where others than root and `owner`
 * could put another listener there: what is sent to it would be theirs. Mode and owner of the socket itself say who may speak to it.
 */
export function checkSocket(socket: string, owner: Account | undefined, mountpoint: string): boolean {
  let problem: Untrusted | undefined;
  let isThere = true;
  try {
    const walked = walk(socket, { avoid: mountpoint, owner, wayOnly: true });
    closeSync(walked.fd);
    problem = walked.untrusted;
  } catch (error) {
    isThere = false;
    problem = untrustedWay(error);
  }
  if (problem === undefined) return isThere;
  throw untrusted(
    `use socket ${quote(socket)}`,
    problem,
    ', or name in socketOwner whose directory it is: that user could have the keys that match covers',
  );
}

function checkProgram(program: string, options: WalkOptions): void {
  const invalid = (why: string) =>
    new ConfigError('config-invalid', `cannot use program ${quote(program)}: ${why}`, {
      hint: 'name an executable file by its absolute path',
    });
  let walked: Walked;
  try {
    walked = walk(program, options);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw invalid(
      code === 'ELOOP' ? 'it is inside the mount, or behind too many symlinks' : `${code ?? 'failure'}`,
    );
  }
  closeSync(walked.fd);
  if (walked.untrusted !== undefined) {
    throw untrusted(
      `run ${quote(program)}`,
      walked.untrusted,
      `: whoever may write there could run anything as ${options.owner === undefined ? 'root' : 'its user'}`,
    );
  }
  if (!walked.stat.isFile()) throw invalid('it is not a file');
  if ((walked.stat.mode & EXECUTABLE) === 0) throw invalid('it is not executable');
}

/** Of `FILE`, `--option=FILE`, `name=FILE` and `-xFILE`. Programs run in `/`, so that is where a relative one begins. */
function pathIn(arg: string): string | undefined {
  const value = /^(?:-{0,2}[A-Za-z][A-Za-z0-9_-]*=|-[A-Za-z](?=\/))(.*)$/s.exec(arg)?.[1] ?? arg;
  return value.includes('/') && !value.includes('\0') ? path.resolve('/', value) : undefined;
}

function untrustedFile(file: string, options: WalkOptions): Untrusted | undefined {
  // In the mount the bundle decides. By a symlink elsewhere, whoever may make that does.
  if (`${file}/`.startsWith(`${options.avoid}/`)) return undefined;
  try {
    const way = walk(file, { ...options, wayOnly: true });
    closeSync(way.fd);
    if (way.untrusted !== undefined || !way.stat.isFile()) return way.untrusted;
    const { fd, untrusted } = walk(file, options);
    closeSync(fd);
    return untrusted;
  } catch (error) {
    return untrustedWay(error);
  }
}

/** Of a walk that came to no end: what of its beginning others could change. */
function untrustedWay(error: unknown): Untrusted | undefined {
  return (error as { untrusted?: Untrusted }).untrusted;
}

function untrusted(what: string, { problem, hint }: Untrusted, why: string): ConfigError {
  return new ConfigError('config-untrusted', `cannot ${what}: ${problem}`, { hint: `${hint}${why}` });
}
