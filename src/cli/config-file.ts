/** Reads --config. Only a command that is given one loads this, and with it the YAML parser. */
import { fstatSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Settings } from '../daemon/config.ts';
import { CONFIG_BYTES_MAX, parseConfig } from '../daemon/config-yaml.ts';
import { ConfigError, errnoWords, quote } from '../errors.ts';
import { closeQuietly } from '../system/files.ts';
import { type Untrusted, type Walked, walk } from '../system/trusted.ts';

const HINT = 'give the path of a YAML file that you may read';

export interface ConfigFile {
  readonly settings: Settings;
  /** What others than root could have changed about it. */
  readonly untrusted: Untrusted | undefined;
}

/** Throws ConfigError: config-unreadable, config-invalid. */
export function readConfigFile(name: string): ConfigFile {
  let opened: Opened | undefined;
  try {
    opened = openConfig(name);
    const { fd, untrusted } = opened;
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw unreadable(name, 'it is not a file');
    if (stat.size > CONFIG_BYTES_MAX)
      throw unreadable(name, `it has ${stat.size} bytes, want at most ${CONFIG_BYTES_MAX}`);
    return { settings: parseConfig(name, readFileSync(fd, 'utf8')), untrusted };
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    throw unreadable(name, errnoWords(cause), cause);
  } finally {
    closeQuietly(opened?.fd);
  }
}

interface Opened {
  readonly fd: number;
  readonly untrusted: Untrusted | undefined;
}

/** What is looked at is what is read: one walk, one descriptor. Where there is no way to walk (macOS, /dev/fd) nobody can tell. */
function openConfig(name: string): Opened {
  let walked: Walked;
  try {
    walked = walk(path.resolve(name));
  } catch {
    const fd = openSync(name, 'r');
    const problem = `what leads to ${quote(name)} can't be looked at`;
    return { fd, untrusted: { problem, hint: 'give the path of a file' } };
  }
  try {
    return { fd: openSync(`/proc/self/fd/${walked.fd}`, 'r'), untrusted: walked.untrusted };
  } finally {
    closeQuietly(walked.fd);
  }
}

function unreadable(name: string, why: string, cause?: unknown): ConfigError {
  return new ConfigError('config-unreadable', `cannot read config ${quote(name)}: ${why}`, {
    hint: HINT,
    cause,
  });
}
