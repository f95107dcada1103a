/** The KMS keys that a mount accepts: their state and rotation. Whether this role may decrypt, bundle.ts finds by doing it. */
import { quote, SecretsfsError } from '../errors.ts';
import { parseKeyArn } from '../keyring/spec.ts';
import type { KeyFacts } from '../keys/key-facts.ts';
import type { Cloud } from './cloud.ts';
import { type Check, ok, problem, unknown, type Verdict, warning } from './finding.ts';
import type { Subject } from './subject.ts';

/** Each key once. */
export function keysOf(subject: Subject): { readonly arn: string; readonly cloud: Cloud }[] {
  const found = new Map<string, Cloud>();
  for (const { acceptedKeys, aws } of subject.plan?.parts ?? [])
    for (const key of acceptedKeys)
      if (parseKeyArn(key) !== undefined && !found.has(key)) found.set(key, subject.cloud(aws));
  return [...found].map(([arn, cloud]) => ({ arn, cloud }));
}

async function ask(
  subject: Subject,
  judge: (facts: KeyFacts, cloud: Cloud) => Promise<Verdict> | Verdict,
): Promise<Verdict[]> {
  return Promise.all(
    keysOf(subject).map(async ({ arn, cloud }) => {
      try {
        return await judge(await cloud.key(arn), cloud);
      } catch (error) {
        if (!(error instanceof SecretsfsError)) throw error;
        if (error.code === 'key-not-found')
          return problem(`${error.message} (${error.code})`, error.hint ?? 'aws kms describe-key');
        return unknown(
          `${error.message} (${error.code})`,
          `aws kms describe-key --key-id ${arn}, as who may; ${error.hint ?? ''}`.replace(/; $/, ''),
        );
      }
    }),
  );
}

export const keyState: Check = {
  id: 'key-state',
  area: 'key',
  what: 'state of the key',
  run: (subject) =>
    ask(subject, ({ arn, state, deletionDate, spec }) => {
      const { text } = arn;
      if (state === 'PendingDeletion' || state === 'PendingReplicaDeletion')
        return problem(
          `${quote(text)} will be deleted${deletionDate === undefined ? '' : ` at ${deletionDate}`}, and with it every bundle under it alone`,
          `secretsfs keys delete ${text} --cancel; secretsfs keys enable ${text}`,
        );
      if (state === 'Disabled')
        return problem(
          `${quote(text)} is disabled: no new bundle can be opened`,
          `secretsfs keys enable ${text}`,
        );
      if (state !== 'Enabled')
        return problem(`${quote(text)} is in state ${state}`, `secretsfs keys show ${text}`);
      if (spec !== 'SYMMETRIC_DEFAULT')
        return problem(`${quote(text)} is ${spec}, want a symmetric key`, 'secretsfs keys create makes one');
      return ok(`${quote(text)}: enabled`);
    }),
};

export const keyRotation: Check = {
  id: 'key-rotation',
  area: 'key',
  what: 'rotation of the key',
  run: (subject) =>
    ask(subject, async (facts, cloud) => {
      const { text } = facts.arn;
      // What can't be used has no rotation that matters; KMS does not say it of all.
      if (facts.state !== 'Enabled') return ok(`${quote(text)}: in state ${facts.state} it does not count`);
      if (facts.origin !== 'AWS_KMS')
        return ok(`${quote(text)}: KMS rotates no key of origin ${facts.origin}`);
      const { enabled, everyDays } = await cloud.rotation(facts);
      if (enabled) return ok(`${quote(text)}: every ${everyDays ?? 365} days`);
      return warning(`${quote(text)} never rotates`, `secretsfs keys rotation on ${text}`);
    }),
};
