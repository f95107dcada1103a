/** What commands that shred say to a person, and in which order they do it. */
import { OutputError, SecretsfsError } from '../errors.ts';
import { type Candidate, type Looked, shredCandidate } from './shred-files.ts';
import type { Ui } from './ui.ts';
import { plural } from './ui.ts';

/** Throws where a file can't be shredded: the only problem, or `shred-incomplete` after each of several was said. */
export function refuseProblems(ui: Ui, { targets, problems }: Looked): void {
  refuse(ui, problems, `cannot shred ${problems.length} of ${plural(targets, 'file')}: none was touched`);
}

/** Once for each reason, not for each file. */
export function warnOfRemains(ui: Ui, { remains }: Pick<Looked, 'remains'>): void {
  for (const reason of remains) ui.warn(`shredding promises nothing here: ${reason}`);
}

/** Goes on after a file that can't be shredded after all, and throws in the end. */
export async function shredAll(
  ui: Ui,
  { candidates }: { readonly candidates: readonly Candidate[] },
): Promise<void> {
  const problems: SecretsfsError[] = [];
  const total = candidates.reduce((sum, { bytes }) => sum + bytes, 0);
  await ui.progress('shredding', async (report) => {
    let done = 0;
    for (const candidate of candidates) {
      await shredCandidate(candidate).catch((error: unknown) => {
        if (!(error instanceof SecretsfsError)) throw error;
        problems.push(error);
      });
      done += candidate.bytes;
      report(done / Math.max(total, 1));
    }
  });
  refuse(
    ui,
    problems,
    `cannot shred ${problems.length} of ${plural(candidates.length, 'file')}: the others are gone`,
  );
}

function refuse(ui: Ui, problems: readonly SecretsfsError[], inAll: string): void {
  const [first, second] = problems;
  if (first === undefined) return;
  if (second === undefined) throw first;
  for (const { message, hint } of problems)
    ui.warn(hint === undefined ? message : `${message} (hint: ${hint})`);
  throw new OutputError('shred-incomplete', inAll, {
    hint: 'put right what is said of each, or leave those out',
  });
}
