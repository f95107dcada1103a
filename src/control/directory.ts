/**
 * Where the control sockets of running mounts are: RUNTIME_DIR/NAME/control.sock (mode 0600: everything) and, where a
 * group may look, RUNTIME_DIR/NAME/status.sock (mode 0660: status and wait). Metrics
 * are at RUNTIME_DIR/NAME/metrics.sock, for root and that group. The file modes are the whole of the access
 * control: Node can't ask who is at the other end of a socket.
 */
import { existsSync } from 'node:fs';
import { lstat, mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import { ControlError, errnoWords, quote } from '../errors.ts';

export const CONTROL_SOCKET = 'control.sock';
export const STATUS_SOCKET = 'status.sock';
export const METRICS_SOCKET = 'metrics.sock';
/** sun_path of unix(7), less its NUL. */
const SOCKET_PATH_BYTES_MAX = 107;

const OF_ROOT = '/run/secretsfs';

/**
 * Where running mounts are looked for. Somebody who never had one of his own means root's, which let a group see their status
 * (statusGroup). `ofRoot`: where those are.
 */
export function lookDirectory(
  options: Parameters<typeof runtimeDirectory>[0] & { readonly ofRoot?: string },
): string {
  const { chosen, uid, env, ofRoot = OF_ROOT } = options;
  if (chosen !== undefined || uid === 0) return runtimeDirectory(options);
  const own = env['XDG_RUNTIME_DIR'] ? runtimeDirectory(options) : undefined;
  return (own === undefined || !existsSync(own)) && existsSync(ofRoot)
    ? ofRoot
    : (own ?? runtimeDirectory(options));
}

/** The directory of all sockets: /run/secretsfs for root, $XDG_RUNTIME_DIR/secretsfs for anybody else. */
export function runtimeDirectory(options: {
  readonly chosen?: string | undefined;
  readonly uid: number;
  readonly env: NodeJS.ProcessEnv;
}): string {
  if (options.chosen !== undefined) return path.resolve(options.chosen);
  if (options.uid === 0) return OF_ROOT;
  const base = options.env['XDG_RUNTIME_DIR'];
  if (base === undefined || base === '') {
    throw new ControlError(
      'control-directory',
      'cannot place the control socket: XDG_RUNTIME_DIR is not set',
      {
        hint: 'log in through systemd-logind, or give --runtime-dir DIR',
      },
    );
  }
  return path.join(base, 'secretsfs');
}

/** Makes the directory of one mount's sockets. It must be ours, and writable by nobody else, like the one above it. */
export async function makeSocketDirectory(runtimeDir: string, name: string, uid: number): Promise<string> {
  const directory = path.join(runtimeDir, name);
  if (Buffer.byteLength(path.join(directory, CONTROL_SOCKET)) > SOCKET_PATH_BYTES_MAX) {
    throw new ControlError(
      'control-directory',
      `cannot place the control socket: ${quote(directory)} is too long`,
      {
        hint: 'give a shorter --runtime-dir',
      },
    );
  }
  for (const made of [runtimeDir, directory]) {
    try {
      await mkdir(made, { mode: 0o755 });
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') {
        throw new ControlError('control-directory', `cannot make ${quote(made)}: ${errnoWords(cause)}`, {
          hint:
            (cause as NodeJS.ErrnoException).code === 'ENOENT'
              ? `make ${path.dirname(made)} first, or give another --runtime-dir`
              : 'give --runtime-dir DIR, a directory that you may write to',
          cause,
        });
      }
    }
    const stat = await lstat(made);
    if (!stat.isDirectory() || stat.uid !== uid || (stat.mode & 0o022) !== 0) {
      throw new ControlError(
        'control-directory',
        `cannot use ${quote(made)}: it must be a directory of uid ${uid} that nobody else may write to`,
        {
          hint: 'mend it with chown, chmod go-w, or give another --runtime-dir, which is made where it is missing',
        },
      );
    }
  }
  return directory;
}

/** The names of mounts that have a socket directory, running or not. */
export async function listNames(runtimeDir: string): Promise<string[]> {
  try {
    const entries = await readdir(runtimeDir, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
      .sort();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new ControlError('control-denied', `cannot list ${quote(runtimeDir)}: ${errnoWords(cause)}`, {
      hint: 'run as the user of the mount, or as root; --runtime-dir names a directory of control sockets',
      cause,
    });
  }
}
