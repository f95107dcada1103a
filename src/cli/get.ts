/** A secret's content to stdout, byte for byte; at a terminal, as a line of text. */
import { isUtf8 } from 'node:buffer';
import { UsageError } from '../errors.ts';
import { parsePath } from '../secrets/location.ts';
import { awsAccess } from './bundles.ts';
import { type Command, optionalTextArg, textArg } from './command.ts';
import { createOpener, SECRET_SETTINGS } from './secrets.ts';
import { openStore } from './stores.ts';
import { writeStdout } from './streams.ts';

export const get: Command = {
  usage: 'get <path>',
  settings: SECRET_SETTINGS,
  build: (yargs) =>
    yargs
      .positional('path', { type: 'string', describe: 'path of the secret in the store', demandOption: true })
      .option('version', { type: 'string', requiresArg: true, describe: 'an older version, of: history' })
      .option('sealed-for', {
        type: 'string',
        requiresArg: true,
        describe: 'the full place it was sealed for, where you copied it from there yourself',
      }),
  async run(args, context) {
    const path = parsePath(textArg(args, 'path'));
    const aws = awsAccess(context);
    const store = openStore(context, aws);
    const opener = await createOpener(context, store, aws);
    const { plaintext } = await opener.open(path, {
      version: optionalTextArg(args, 'version'),
      sealedFor: optionalTextArg(args, 'sealedFor'),
    });
    try {
      if (context.stdout.isTTY) refuseUnprintable(plaintext);
      await writeStdout(context, plaintext);
      if (context.stdout.isTTY && plaintext.at(-1) !== 0x0a) await writeStdout(context, Buffer.from('\n'));
    } finally {
      plaintext.fill(0);
    }
  },
};

/** What is not text could tell a terminal to do anything. */
function refuseUnprintable(plaintext: Buffer): void {
  const isControl = (byte: number) => (byte < 0x20 && byte !== 0x09 && byte !== 0x0a) || byte === 0x7f;
  // In UTF-8, the controls of C1 are c2 80 to c2 9f.
  const isC1 = (byte: number, i: number) => byte === 0xc2 && (plaintext[i + 1] ?? 0xff) < 0xa0;
  if (isUtf8(plaintext) && !plaintext.some((byte, i) => isControl(byte) || isC1(byte, i))) return;
  throw new UsageError('cannot write the secret to a terminal: it is not plain text', {
    hint: 'redirect stdout, or: secretsfs download PATH FILE',
  });
}
