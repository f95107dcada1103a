import { quote } from '../errors.ts';
import type { Facts } from '../secrets/facts.ts';
import { FactsCache } from '../secrets/facts-cache.ts';
import { type Listed, listSecrets } from '../secrets/listing.ts';
import { awsAccess } from './bundles.ts';
import { type Command, listArg } from './command.ts';
import { openStore, STORE_SETTINGS } from './stores.ts';
import { formatBytes, plural } from './ui.ts';

const HEADINGS = ['path', 'modified', 'size', 'etag', 'key', 'format'];
const LONG_HEADINGS = ['version', 'context'];
const SHORT_ETAG = 12;

export const ls: Command = {
  usage: 'ls [pattern..]',
  settings: STORE_SETTINGS,
  build: (yargs) =>
    yargs
      .positional('pattern', {
        type: 'string',
        describe: 'paths with *, ** and ?, comma lists; all by default',
      })
      .option('long', {
        type: 'boolean',
        default: false,
        describe: 'with version and context, nothing shortened',
      }),
  async run(args, context) {
    const { ui, env } = context;
    const aws = awsAccess(context);
    const store = openStore(context, aws);
    const skipped: string[] = [];
    const cache = await FactsCache.open(env, store.location);
    const listed = await ui.progress(`listing ${store.location}`, () =>
      listSecrets(store, listArg(args, 'pattern'), { cache, skipped: (name) => skipped.push(name) }),
    );
    if (context.json) ui.printJson(listed.map(asJson));
    else if (listed.length > 0) {
      const long = args['long'] === true;
      const headings = long ? [...HEADINGS, ...LONG_HEADINGS] : HEADINGS;
      ui.printTable([headings, ...listed.map((each) => rowOf(each, long))]);
    }
    if (listed.length === 0 && !context.json)
      ui.warn(
        `there is no secret in ${quote(store.location)}: secretsfs put PATH and upload FILE PATH make some`,
      );
    const moved = listed.filter(
      ({ path, facts }) => facts?.sealedFor !== undefined && facts.sealedFor !== store.locate(path),
    );
    if (moved.length > 0) {
      const secrets = plural(moved.length, 'secret');
      ui.warn(
        `sealed for another place, and not to be opened here: ${secrets}, such as ${quote(moved[0]?.path ?? '')}`,
      );
    }
    const denied = listed.filter(({ facts }) => facts === undefined);
    if (denied.length > 0) {
      ui.warn(`${plural(denied.length, 'secret')} may not be read, such as ${quote(denied[0]?.path ?? '')}`);
    }
    if (skipped.length > 0) {
      const names = plural(skipped.length, 'name');
      ui.warn(
        `left out ${names} that no secret may have, or that are larger than any, such as ${quote(skipped[0] ?? '')}`,
      );
    }
  },
};

function asJson({ path, bytes, modifiedMs, etag, version, facts }: Listed): object {
  return {
    path,
    modified: new Date(modifiedMs).toISOString(),
    plainBytes: facts?.plaintextBytes ?? null,
    bytes,
    etag,
    version: version ?? null,
    format: facts?.format ?? null,
    keys: facts?.keys ?? [],
    sealedFor: facts?.sealedFor ?? null,
    created: facts?.created ?? null,
    context: facts?.context ?? {},
  };
}

function rowOf({ path, modifiedMs, etag, version, facts }: Listed, long: boolean): string[] {
  const plainEtag = etag.replaceAll('"', '');
  const context = Object.entries(facts?.context ?? {}).map(([name, value]) => `${name}=${value}`);
  const row = [
    path,
    timeOf(modifiedMs),
    facts?.plaintextBytes === undefined ? '-' : formatBytes(facts.plaintextBytes),
    long ? plainEtag : plainEtag.slice(0, SHORT_ETAG),
    (long ? facts?.keys.map(({ keyName }) => keyName).join(',') : shortKeys(facts)) || '-',
    facts?.format ?? '-',
  ];
  return long ? [...row, version ?? '-', context.join(',') || '-'] : row;
}

/** 2026-11-23T07:39:48Z */
export function timeOf(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}

/** Without what is the same in every ARN of an account. */
export function shortKeys(facts: Facts | undefined): string {
  return (facts?.keys ?? []).map(({ keyName }) => keyName.replace(/^arn:.*:(?:key\/)?/, '')).join(',');
}
