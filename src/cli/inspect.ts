import { readHeader } from '../bundle/envelope.ts';
import { quote } from '../errors.ts';
import { readHead } from './bundles.ts';
import type { Command } from './command.ts';
import { formatBytes, formatTable } from './ui.ts';

export const inspect: Command = {
  usage: 'inspect [bundle]',
  settings: ['bundle', 'profile', 'region', 'roleArn', 'externalId', 'forcePathStyle'],
  build: (yargs) => yargs.positional('bundle', { type: 'string', describe: 'path, s3://bucket/key or -' }),
  async run(_args, context) {
    const { head, size, location } = await readHead(context);
    const header = readHeader(head);
    if (context.json) {
      return context.ui.printJson({ verified: false, location, bytes: size, ...header });
    }
    const rows = [
      ['name', header.name],
      ['serial', String(header.serial)],
      ['created', header.created],
      ['size', `${formatBytes(size)} sealed, frames of ${formatBytes(header.frameBytes)}`],
      ...header.encryptedDataKeys.map((key) => ['key', `${key.providerId} ${quote(key.keyName)}`]),
      ...Object.entries(header.context).map(([name, value]) => ['context', `${quote(name)}=${quote(value)}`]),
    ];
    for (const line of formatTable(rows)) context.ui.print(line);
    context.ui.print(
      'unverified: anybody who can write the file could have written this; secretsfs verify proves it',
    );
  },
};
