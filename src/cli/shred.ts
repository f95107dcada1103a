import { UsageError } from '../errors.ts';
import { type Command, DRY_RUN, isDryRun } from './command.ts';
import { lookAtTargets, namedFile } from './shred-files.ts';
import { refuseProblems, shredAll, warnOfRemains } from './shredding.ts';
import { formatBytes, plural } from './ui.ts';

export const shred: Command = {
  usage: 'shred <file..>',
  settings: [],
  build: (yargs) =>
    yargs
      .positional('file', {
        type: 'string',
        array: true,
        describe: 'files to overwrite and remove',
        demandOption: true,
      })
      .options(DRY_RUN),
  async run(args, { ui, json }) {
    const files = (args['file'] as readonly unknown[]).map(String);
    if (files.includes('-'))
      throw new UsageError('cannot shred stdin', { hint: 'name files: ./- is one called "-"' });
    const dryRun = isDryRun(args);
    const looked = await lookAtTargets(files.map(namedFile));
    refuseProblems(ui, looked);
    warnOfRemains(ui, looked);
    if (!dryRun) await shredAll(ui, looked);
    const bytes = looked.candidates.reduce((sum, candidate) => sum + candidate.bytes, 0);
    const names = looked.candidates.flatMap((candidate) => candidate.names.map(({ shown }) => shown));
    if (json) ui.printJson({ files: names, bytes, dryRun, remains: looked.remains });
    else
      ui.print(
        `${dryRun ? 'would shred' : 'shredded'} ${plural(names.length, 'file')}, ${formatBytes(bytes)}`,
      );
  },
};
