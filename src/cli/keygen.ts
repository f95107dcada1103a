import { UsageError } from '../errors.ts';
import { checkKeyFile, generateKeyFile } from '../keyring/local.ts';
import { type Command, DRY_RUN, isDryRun, textArg } from './command.ts';

export const keygen: Command = {
  usage: 'keygen <path>',
  settings: [],
  build: (yargs) =>
    yargs
      .positional('path', { type: 'string', describe: 'where; must not exist', demandOption: true })
      .options(DRY_RUN),
  async run(args, { ui, json }) {
    const path = textArg(args, 'path');
    if (path === '-') {
      throw new UsageError('cannot write a key to stdout: a key file is never without its mode', {
        hint: 'name a file',
      });
    }
    if (isDryRun(args)) {
      await checkKeyFile(path);
      if (json) ui.printJson({ path, keyName: null, dryRun: true });
      else ui.print(`would have made ${path}`);
      return;
    }
    const keyName = await generateKeyFile(path);
    if (json) ui.printJson({ path, keyName, dryRun: false });
    else
      ui.print(`made ${path} (key ${keyName}); keep a copy where you keep backups: without it nothing opens`);
  },
};
