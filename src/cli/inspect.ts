import { readHeader } from '../bundle/envelope.ts';
import { describePack } from '../bundle/old-format.ts';
import { quote } from '../errors.ts';
import { readHead } from './bundles.ts';
import type { Command, Context } from './command.ts';
import { formatBytes } from './ui.ts';

export const inspect: Command = {
  usage: 'inspect [bundle]',
  settings: ['bundle', 'profile', 'region', 'roleArn', 'externalId', 'forcePathStyle'],
  build: (yargs) => yargs.positional('bundle', { type: 'string', describe: 'path, s3://bucket/key or -' }),
  async run(_args, context) {
    const { head, size, location } = await readHead(context);
    const old = describePack(head, size);
    if (old !== undefined) return inspectOld(context, { ...old, location, bytes: size });
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
    context.ui.printTable(rows);
    context.ui.print(
      'unverified: anybody who can write the file could have written this; secretsfs verify proves it',
    );
  },
};

/** It says neither name nor key. */
function inspectOld(
  { ui, json }: Context,
  pack: NonNullable<ReturnType<typeof describePack>> & { readonly location: string; readonly bytes: number },
): void {
  const { location, bytes, format, plaintextBytes } = pack;
  if (json) {
    ui.printJson({ verified: false, location, bytes, format, plaintextBytes: plaintextBytes ?? null });
    return;
  }
  const holds = plaintextBytes === undefined ? '' : `, with ${formatBytes(plaintextBytes)} inside`;
  ui.printTable([
    ['format', `${format}, a pack`],
    ['size', `${formatBytes(bytes)} sealed${holds}`],
  ]);
  ui.print('it says neither its name nor its key: secretsfs verify asks KMS, and opens it');
}
