/** The file of --config as something that may be another one later (daemon/config-reload.ts). */
import { fstatSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Settings } from '../daemon/config.ts';
import type { ConfigSource } from '../daemon/config-reload.ts';
import { ConfigError, errnoWords, quote } from '../errors.ts';
import { FILE_MS_MAX, FileLane } from '../system/file-lane.ts';
import { closeQuietly } from '../system/files.ts';
import { type Untrusted, walk } from '../system/trusted.ts';

const HINT = 'give the path of a YAML file that you may read';

/** What a command was given by --config, to be read again. */
export interface ConfigGiven {
  /** Absolute. */
  readonly path: string;
  /** identityOf() what was read. */
  readonly identity: string;
  /** All layers, with the file as it is now. Throws ConfigError: as readConfigFile(), and config-untrusted. */
  read(): Settings;
}

/** Of an open file: another one, other contents, and another one who may change it, are another text. */
export function identityOf(fd: number, untrusted: Untrusted | undefined): string {
  const { dev, ino, size, mtimeNs, ctimeNs } = fstatSync(fd, { bigint: true });
  return [dev, ino, size, mtimeNs, ctimeNs, untrusted?.problem ?? 'trusted'].join(' ');
}

/** undefined: it is no file that has a path of its own. */
export function configSource(
  config: ConfigGiven | undefined,
  settings: Settings,
  options: ConfigSource['options'],
): ConfigSource | undefined {
  if (config === undefined || /^\/(dev|proc)\//.test(config.path)) return undefined;
  const lane = new FileLane();
  const { path, identity } = config;
  return {
    path,
    identity,
    settings,
    options,
    read: () => config.read(),
    identify: () => identify(path, lane),
  };
}

/** One that does not answer is found by the lane: what comes after it waits for the same file system. */
async function identify(path: string, lane: FileLane): Promise<string> {
  let fd: number | undefined;
  try {
    await lane.run(() => stat(path), { timeoutMs: FILE_MS_MAX });
    const walked = walk(path);
    fd = walked.fd;
    return identityOf(fd, walked.untrusted);
  } catch (cause) {
    throw unreadable(path, errnoWords(cause), cause);
  } finally {
    closeQuietly(fd);
  }
}

export function unreadable(name: string, why: string, cause?: unknown): ConfigError {
  return new ConfigError('config-unreadable', `cannot read config ${quote(name)}: ${why}`, {
    hint: HINT,
    cause,
  });
}
