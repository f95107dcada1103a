/** A value into the store, typed at a terminal without echo or piped in: never an argument, which every user could see. */
import { fstatSync } from 'node:fs';
import { quote, UsageError } from '../errors.ts';
import { SECRET_BYTES_MAX } from '../limits.ts';
import { parsePath } from '../secrets/location.ts';
import { type Command, type Context, textArg } from './command.ts';
import { promptTwice } from './prompt.ts';
import { readStdin } from './streams.ts';
import { WRITING, writeSecret } from './write-secret.ts';

export const put: Command = {
  usage: 'put <path>',
  settings: WRITING.settings,
  build: (yargs) =>
    WRITING.build(yargs).positional('path', {
      type: 'string',
      describe: 'path of the secret in the store',
      demandOption: true,
    }),
  async run(args, context) {
    const path = parsePath(textArg(args, 'path'));
    requireInput(context);
    await writeSecret('put', path, args, context, () => readValue(path, context));
  },
};

/** Before anything else is done: nobody waits for a value that can't come. */
function requireInput({ stdin }: Context): void {
  if (stdin.isTTY) return;
  const from = fstatSync(0);
  if (from.isFIFO() || from.isFile() || from.isSocket()) return;
  throw new UsageError('cannot put a value: there is no terminal to ask at, and nothing is piped in', {
    hint: 'ssh -t, docker run -it; or pipe it in: PROGRAM | secretsfs put PATH; or secretsfs upload FILE PATH',
  });
}

async function readValue(path: string, context: Context): Promise<Buffer> {
  if (context.stdin.isTTY) return promptTwice(context.stdin, process.stderr, quote(path));
  const all = await readStdin(context, SECRET_BYTES_MAX, 'a value', 'secretsfs pack takes more');
  // echo's own, and that of every editor. upload takes every byte.
  const end = all.at(-1) === 0x0a ? (all.at(-2) === 0x0d ? -2 : -1) : all.length;
  return all.subarray(0, end);
}
