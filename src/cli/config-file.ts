/** Reads --config. Only a command that is given one loads this, and with it the YAML parser. */
import { fstatSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Settings } from '../daemon/config.ts';
import { CONFIG_BYTES_MAX, parseConfig } from '../daemon/config-yaml.ts';
import { ConfigError, errnoWords, quote } from '../errors.ts';
import { closeQuietly } from '../system/files.ts';
import { type Untrusted, type Walked, walk } from '../system/trusted.ts';
import { identityOf, unreadable } from './config-source.ts';

export interface ConfigFile {
  readonly settings: Settings;
  /** What others than root could have changed about it. */
  readonly untrusted: Untrusted | undefined;
  readonly identity: string;
}

/** Throws ConfigError: config-unreadable, config-invalid; with `trustedOnly`, config-untrusted before it is parsed. */
export function readConfigFile(name: string, { trustedOnly = false } = {}): ConfigFile {
  let opened: Opened | undefined;
  try {
    opened = openConfig(name);
    const { fd, untrusted } = opened;
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw notAFile(name);
    if (stat.size > CONFIG_BYTES_MAX)
      throw unreadable(name, `it has ${stat.size} bytes, want at most ${CONFIG_BYTES_MAX}`);
    if (trustedOnly && untrusted !== undefined) {
      throw new ConfigError('config-untrusted', `cannot use config ${quote(name)}: ${untrusted.problem}`, {
        hint: `${untrusted.hint}: a running mount takes no settings from what others than root may change`,
      });
    }
    // Before it is read: what is written meanwhile is another one.
    const identity = identityOf(fd, untrusted);
    return { settings: parseConfig(name, readFileSync(fd, 'utf8')), untrusted, identity };
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
    // Before it is opened: a fifo's open waits for whoever writes, and a device's does what the device does.
    if (!walked.stat.isFile()) throw notAFile(name);
    return { fd: openSync(`/proc/self/fd/${walked.fd}`, 'r'), untrusted: walked.untrusted };
  } finally {
    closeQuietly(walked.fd);
  }
}

const notAFile = (name: string) => unreadable(name, 'it is not a file');
