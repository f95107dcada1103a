/** The bundles themselves: fetched, opened and judged as the mount would do it next, and no content is kept or shown. */

import { readRecord } from '../daemon/floor.ts';
import type { MountSource, PartOptions } from '../daemon/mount-options.ts';
import { classOf, KeyError, quote, SecretsfsError, SourceError, shellQuote } from '../errors.ts';
import { recordFile } from './files.ts';
import { type Check, ok, problem, unknown, type Verdict, warning } from './finding.ts';
import type { Opened, OpenedContent } from './opened.ts';
import type { Subject } from './subject.ts';
import { formatMiB } from './words.ts';

/** Of a check that fails, so many are said. */
const PROBLEMS_SHOWN = 10;

type Place = {
  readonly part: PartOptions;
  readonly source: MountSource;
  readonly opened: Opened | SecretsfsError;
};

async function placesOf(subject: Subject): Promise<Place[]> {
  const all = (subject.plan?.parts ?? []).flatMap((part) => part.sources.map((source) => ({ part, source })));
  return Promise.all(
    all.map(async ({ part, source }) => {
      const opened = await subject.opened(part, source).catch((error: unknown) => {
        if (error instanceof SecretsfsError) return error;
        throw error;
      });
      return { part, source, opened };
    }),
  );
}

const failed = (error: SecretsfsError, fix: string) =>
  problem(`${error.message} (${error.code})`, error.hint ?? fix);

export const reachable: Check = {
  id: 'source',
  area: 'bundle',
  what: 'bundle can be fetched',
  async run(subject) {
    return (await placesOf(subject)).map(({ source, opened }): Verdict => {
      // It was fetched, then, and what comes after is another check's.
      if (!(opened instanceof SecretsfsError))
        return ok(`${quote(source.bundle)}${opened.bytes === 0 ? '' : `, ${formatMiB(opened.bytes)}`}`);
      const { code } = opened;
      if (opened instanceof SourceError || classOf(code) === 'source' || classOf(code) === 'config')
        return failed(opened, `secretsfs inspect ${shellQuote(source.bundle)}`);
      return ok(quote(source.bundle));
    });
  },
};

export const decrypts: Check = {
  id: 'key-decrypt',
  area: 'key',
  what: 'this role may decrypt',
  async run(subject) {
    return (await placesOf(subject)).flatMap(({ source, opened }): Verdict[] => {
      if (!(opened instanceof SecretsfsError))
        return opened.content === undefined
          ? []
          : [ok(`the data key of ${quote(source.bundle)} was decrypted`)];
      return opened instanceof KeyError || classOf(opened.code) === 'key'
        ? [failed(opened, 'secretsfs keys show KEY')]
        : [];
    });
  },
};

export const verifies: Check = {
  id: 'bundle',
  area: 'bundle',
  what: 'bundle verifies',
  async run(subject) {
    return (await placesOf(subject)).flatMap(({ source, opened }): Verdict[] => {
      const at = quote(source.bundle);
      if (opened instanceof SecretsfsError)
        return classOf(opened.code) === 'bundle' || opened.code === 'usage'
          ? [failed(opened, `secretsfs verify ${shellQuote(source.bundle)}`)]
          : [];
      const { content } = opened;
      if (content === undefined)
        return [
          unknown(
            `${at} is of a format that carries neither name nor serial: not opened here`,
            'secretsfs unpack --formats, or start the mount',
          ),
        ];
      return contentVerdicts(at, content);
    });
  },
};

function contentVerdicts(
  at: string,
  { serial, created, served, problems, findings }: OpenedContent,
): Verdict[] {
  const pack = 'correct the file, then secretsfs pack again';
  const refused = [...problems.map((text) => problem(`${at} can't be mounted: ${text}`, pack))];
  for (const { level, path, rule, expected, found } of findings) {
    const text = `${at}: ${quote(path)} (${rule}): found ${found}, want ${expected}`;
    refused.push(level === 'refuse' ? problem(text, pack) : warning(text, pack));
  }
  const more = refused.length - PROBLEMS_SHOWN;
  if (more > 0)
    return [
      ...refused.slice(0, PROBLEMS_SHOWN),
      warning(`${at}: and ${more} more`, 'secretsfs verify shows all'),
    ];
  const files = served.filter(({ kind }) => kind === 'file').length;
  return refused.length > 0
    ? refused
    : [ok(`${at}: serial ${serial}, sealed ${created}, ${files} file${files === 1 ? '' : 's'}`)];
}

export const serial: Check = {
  id: 'serial',
  area: 'bundle',
  what: 'serial is not lower than before',
  async run(subject) {
    const places = await placesOf(subject);
    const verdicts = await Promise.all(places.map((place) => serialOf(subject, place)));
    return verdicts.filter((each) => each !== undefined);
  },
};

async function serialOf(
  { machine, plan }: Subject,
  { part, source, opened }: Place,
): Promise<Verdict | undefined> {
  if (opened instanceof SecretsfsError || opened.content === undefined || plan === undefined)
    return undefined;
  const { content } = opened;
  const file = recordFile(plan.stateDir, plan.instance, part.directory);
  const text = await machine.read(file);
  const record = text === undefined ? undefined : readRecord(text);
  const known = record?.name === part.name ? record : undefined;
  const floor = Math.max(known?.serial ?? 0, part.minSerial ?? 0);
  const at = `${quote(source.bundle)} has serial ${content.serial}`;
  const reseal = `secretsfs reseal ${shellQuote(source.bundle)} ${shellQuote(source.bundle)} ${part.acceptedKeys.map((key) => `--accept-key ${shellQuote(key)}`).join(' ')}`;
  if (content.serial < floor)
    return problem(`${at}, and ${floor} was live or is demanded: a mount refuses it`, reseal);
  if (known !== undefined && content.serial === known.serial && content.sha256 !== known.sha256)
    return problem(`${at}, as the one that was live has, and other bytes`, reseal);
  return ok(floor === 0 ? `${at}; none is known yet` : `${at}, at least ${floor}`);
}
