import { quote, SourceError } from '../errors.ts';
import { mapConcurrently } from '../secrets/concurrent.ts';
import { FACTS_BYTES_MAX, type Facts, factsOf } from '../secrets/facts.ts';
import { parsePath } from '../secrets/location.ts';
import type { SecretStore, StoredVersion } from '../secrets/store.ts';
import { awsAccess } from './bundles.ts';
import { type Command, textArg } from './command.ts';
import { shortKeys, timeOf } from './ls.ts';
import { openStore, STORE_SETTINGS } from './stores.ts';
import { formatBytes } from './ui.ts';

/** S3's name for the one version of an object where versions are not kept. */
const UNVERSIONED = 'null';
const READS_AT_ONCE = 16;

interface Described extends StoredVersion {
  readonly facts: Facts | undefined;
}

export const history: Command = {
  usage: 'history <path>',
  settings: STORE_SETTINGS,
  build: (yargs) =>
    yargs.positional('path', { type: 'string', demandOption: true, describe: 'path of a secret' }),
  async run(args, context) {
    const { ui } = context;
    const store = openStore(context, awsAccess(context));
    const path = parsePath(textArg(args, 'path'));
    const versions = await mapConcurrently(store.versions(path), READS_AT_ONCE, (version) =>
      describe(store, path, version),
    );
    if (versions.length === 0) {
      throw new SourceError(
        'source-not-found',
        `cannot show ${quote(path)}: there never was such a secret, or its versions were removed`,
        {
          hint: 'secretsfs ls shows what there is',
        },
      );
    }
    if (context.json) ui.printJson(versions.map(asJson));
    else {
      const rows = [
        ['version', 'modified', 'size', 'etag', 'key', 'format', 'state'],
        ...versions.map(rowOf),
      ];
      ui.printTable(rows);
    }
    if (versions.every(({ version }) => version === UNVERSIONED)) {
      ui.warn('the bucket keeps no versions: what is replaced or removed there is gone');
    }
  },
};

/** What may not be read is shown without what its beginning says. */
async function describe(store: SecretStore, path: string, version: StoredVersion): Promise<Described> {
  if (version.deleted) return { ...version, facts: undefined };
  const options = { version: version.version, headBytes: FACTS_BYTES_MAX };
  const read = await store.read(path, options).catch((error: unknown) => {
    if (error instanceof SourceError && error.code === 'source-denied') return undefined;
    throw error;
  });
  return { ...version, facts: read && factsOf(read.bytes, read.size, path) };
}

function asJson({ version, modifiedMs, latest, deleted, bytes, etag, facts }: Described): object {
  return {
    version,
    modified: new Date(modifiedMs).toISOString(),
    latest,
    deleted,
    plainBytes: facts?.plaintextBytes ?? null,
    bytes: bytes ?? null,
    etag: etag ?? null,
    format: facts?.format ?? null,
    keys: facts?.keys ?? [],
    created: facts?.created ?? null,
  };
}

function rowOf({ version, modifiedMs, latest, deleted, etag, facts }: Described): string[] {
  const state = [...(latest ? ['latest'] : []), ...(deleted ? ['deleted'] : [])].join(', ');
  const size = facts?.plaintextBytes;
  return [
    version,
    timeOf(modifiedMs),
    size === undefined ? '-' : formatBytes(size),
    etag?.replaceAll('"', '').slice(0, 12) ?? '-',
    shortKeys(facts) || '-',
    facts?.format ?? '-',
    state || '-',
  ];
}
