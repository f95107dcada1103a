import { lintArchive, listArchive, readArchive } from '../bundle/archive.ts';
import { checkCandidate } from '../checks/candidate.ts';
import { refusalOf } from '../checks/findings.ts';
import { contentChecks } from '../checks/settings.ts';
import { quote } from '../errors.ts';
import { OPENING_SETTINGS } from './bundles.ts';
import type { Command } from './command.ts';
import { mountLimits } from './mount-settings.ts';
import { nameFits } from './names.ts';
import { factsOf, openPack, wordsOf } from './packs.ts';

export const verify: Command = {
  usage: 'verify [bundle]',
  settings: [...OPENING_SETTINGS, 'formats', 'maxBytes', 'maxFiles'],
  build: (yargs) => yargs.positional('bundle', { type: 'string', describe: 'path, s3://bucket/key or -' }),
  async run(_args, context) {
    const opened = await openPack(context);
    const { plaintext, location, sha256 } = opened;
    try {
      const entries = await listArchive(plaintext);
      const problems = await lintArchive(plaintext, mountLimits(context.settings));
      const limits = mountLimits(context.settings);
      const checked =
        problems.length > 0
          ? undefined
          : await checkCandidate(await readArchive(plaintext, limits), {
              checks: contentChecks(context.settings.checks),
              nowMs: Date.now(),
            });
      const refusals = (checked?.problems ?? []).filter(({ level }) => level === 'refuse');
      if (context.json) {
        context.ui.printJson({
          verified: true,
          location,
          sha256,
          ...factsOf(opened),
          entries,
          mountable: problems.length === 0,
          problems,
          findings: (checked?.problems ?? []).map(({ level, path, rule, expected, found }) => {
            return { level, path, rule, expected, found };
          }),
          certificates: checked?.certificates ?? [],
        });
        if (refusals.length > 0) throw refusalOf(refusals);
        return;
      }
      const rows = entries.map((entry) => [
        entry.kind,
        entry.mode.toString(8).padStart(4, '0'),
        `${entry.uid}:${entry.gid}`,
        String(entry.size),
        entry.target === undefined ? quote(entry.path) : `${quote(entry.path)} -> ${quote(entry.target)}`,
      ]);
      context.ui.printTable(rows);
      for (const problem of problems) context.ui.warn(`cannot be mounted: ${problem}`);
      for (const { level, path, rule, expected, found } of checked?.problems ?? []) {
        const what = level === 'refuse' ? 'refused: ' : '';
        context.ui.warn(`${what}${quote(path)} (${rule}): found ${found}, want ${expected}`);
      }
      const name = opened.kind === 'bundle' ? opened.header.name : undefined;
      if (context.settings.name === undefined && name !== undefined && !nameFits(location, name)) {
        context.ui.warn(`its name is ${quote(name)}, not that of its file: mount would want --name ${name}`);
      }
      if (refusals.length > 0) throw refusalOf(refusals);
      context.ui.print(
        opened.kind === 'bundle'
          ? `verified: ${wordsOf(opened)}, sealed ${opened.header.created}`
          : `opened: ${wordsOf(opened)}; it is not signed`,
      );
    } finally {
      plaintext.fill(0);
    }
  },
};
