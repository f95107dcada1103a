/** Reads --config. Only a command that is given one loads this, and with it the YAML parser. */
import { open } from 'node:fs/promises';
import type { Settings } from '../daemon/config.ts';
import { CONFIG_BYTES_MAX, parseConfig } from '../daemon/config-yaml.ts';
import { ConfigError, quote } from '../errors.ts';

/** Throws ConfigError: config-unreadable, config-invalid. */
export async function readConfigFile(path: string): Promise<Settings> {
  try {
    const file = await open(path, 'r');
    try {
      const stat = await file.stat();
      if (!stat.isFile())
        throw new ConfigError('config-unreadable', `cannot read config ${quote(path)}: not a file`);
      if (stat.size > CONFIG_BYTES_MAX) {
        throw new ConfigError(
          'config-unreadable',
          `cannot read config ${quote(path)}: it is over ${CONFIG_BYTES_MAX} bytes`,
        );
      }
      return parseConfig(path, await file.readFile('utf8'));
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code ?? 'failure';
    throw new ConfigError('config-unreadable', `cannot read config ${quote(path)}: ${code}`, {
      hint: 'give the path of a YAML file that you may read',
      cause,
    });
  }
}
