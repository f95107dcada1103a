import { type Command, listArg, textArg } from './command.ts';
import { SCRIPTS } from './completion-scripts.ts';
import { complete } from './completions.ts';
import { writeStdout } from './streams.ts';

const CONFIGS = '/etc/secretsfs';

export const completion: Command = {
  usage: 'completion <shell>',
  settings: [],
  runsProgram: true,
  build: (yargs) =>
    yargs.positional('shell', {
      choices: [...Object.keys(SCRIPTS), 'words'],
      demandOption: true,
      describe: 'whose script is printed; words: what may stand next is, of the words after a lone --',
    }),
  async run(args, context) {
    const shell = textArg(args, 'shell');
    const script = SCRIPTS[shell as keyof typeof SCRIPTS];
    return writeStdout(
      context,
      Buffer.from(script ?? (await linesFor(listArg(args, 'program'), context.env))),
    );
  },
};

/** What the scripts read: which files the shell adds, of the word without which prefix; then a candidate a line. */
async function linesFor(words: readonly string[], env: NodeJS.ProcessEnv): Promise<string> {
  const around = { env, uid: process.getuid?.() ?? -1, configs: CONFIGS };
  const { candidates, files, prefix } = await complete(words, around);
  return [files, prefix, ...candidates.map(({ value, describe }) => `${value}\t${describe}`), ''].join('\n');
}
