/** Reads --config. Only a command that is given one loads this, and with it the YAML parser. */
import { open } from 'node:fs/promises';
import type { Settings } from '../daemon/config.ts';
import { CONFIG_BYTES_MAX, parseConfig } from '../daemon/config-yaml.ts';
import { ConfigError, errnoWords, quote } from '../errors.ts';

const HINT = 'give the path of a YAML file that you may read';

/** Throws ConfigError: config-unreadable, config-invalid. */
export async function readConfigFile(path: string): Promise<Settings> {
  try {
    const file = await open(path, 'r');
    try {
      const stat = await file.stat();
      if (!stat.isFile())
        throw new ConfigError('config-unreadable', `cannot read config ${quote(path)}: it is not a file`, {
          hint: HINT,
        });
      if (stat.size > CONFIG_BYTES_MAX) {
        throw new ConfigError(
          'config-unreadable',
          `cannot read config ${quote(path)}: it has ${stat.size} bytes, want at most ${CONFIG_BYTES_MAX}`,
          { hint: HINT },
        );
      }
      return parseConfig(path, await file.readFile('utf8'));
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    const message = `cannot read config ${quote(path)}: ${errnoWords(cause)}`;
    throw new ConfigError('config-unreadable', message, { hint: HINT, cause });
  }
}
