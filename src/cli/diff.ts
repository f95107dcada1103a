/** What differs between two of: bundles, directories, and prefixes of stores. Names and sizes, and whether contents differ. */
import { createHmac, randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { readArchive } from '../bundle/archive.ts';
import { isS3Url } from '../daemon/location.ts';
import { errnoWords, quote, SourceError, UsageError } from '../errors.ts';
import { MOUNT_FILES_MAX, TAR_BYTES_MAX } from '../limits.ts';
import { mapConcurrently } from '../secrets/concurrent.ts';
import { RESERVED } from '../secrets/location.ts';
import { createStore } from '../secrets/open.ts';
import { targetsOf } from '../secrets/rotation-pair.ts';
import type { StoredObject } from '../secrets/store.ts';
import { isSyncKey } from '../secrets/sync.ts';
import { S3Source } from '../source/s3.ts';
import { parseS3Url } from '../source/s3-url.ts';
import { awsAccess, OPENING_SETTINGS, openBundle } from './bundles.ts';
import { type Command, type Context, textArg } from './command.ts';
import { readTree } from './read-tree.ts';
import { createOpener } from './secrets.ts';
import { formatBytes } from './ui.ts';

const READS_AT_ONCE = 32;

/** Of one side: path → what it is like. */
type Side = ReadonlyMap<string, { readonly bytes: number; readonly hash: string }>;
type Digest = (data: Uint8Array) => string;

export const diff: Command = {
  usage: 'diff <a> <b>',
  settings: [...OPENING_SETTINGS.filter((setting) => setting !== 'bundle'), 'formats'],
  build: (yargs) =>
    yargs
      .positional('a', {
        type: 'string',
        describe:
          'a directory; a bundle, local or s3://bucket/key; or s3://bucket/prefix of a store, file:///DIR of a local one',
        demandOption: true,
      })
      .positional('b', { type: 'string', describe: 'the same', demandOption: true }),
  async run(args, context) {
    // Known to this process alone, and different each time: what is compared is worth nothing afterwards.
    const key = randomBytes(32);
    const digest: Digest = (data) => createHmac('sha256', key).update(data).digest('base64');
    const [a, b] = [
      await readSide(textArg(args, 'a'), context, digest),
      await readSide(textArg(args, 'b'), context, digest),
    ];
    const facts = [...new Set([...a.keys(), ...b.keys()])].sort().map((path) => {
      const [left, right] = [a.get(path), b.get(path)];
      const what =
        left === undefined
          ? 'added'
          : right === undefined
            ? 'removed'
            : left.hash === right.hash
              ? 'same'
              : 'changed';
      return { path, what, bytesA: left?.bytes, bytesB: right?.bytes };
    });
    const differing = facts.filter(({ what }) => what !== 'same');
    const same = facts.length - differing.length;
    if (context.json) return context.ui.printJson({ same, differences: differing });
    const sign = { added: '+', removed: '-', changed: '~', same: '=' } as const;
    for (const { path, what, bytesA, bytesB } of differing) {
      const sizes = [bytesA, bytesB].filter((bytes) => bytes !== undefined).map(formatBytes);
      context.ui.print(`${sign[what as keyof typeof sign]} ${path}  ${sizes.join(' -> ')}`);
    }
    context.ui.print(`${differing.length} different, ${same} the same`);
  },
};

async function readSide(place: string, context: Context, digest: Digest): Promise<Side> {
  if (place.startsWith('file://')) return readStore(place, context, digest);
  if (!isS3Url(place)) {
    const found = await stat(place).catch((cause: unknown) => {
      throw new SourceError('source-not-found', `cannot compare ${quote(place)}: ${errnoWords(cause)}`, {
        hint: 'name a directory, a bundle, or a store as s3://BUCKET/PREFIX or file:///DIR',
        cause,
      });
    });
    return found.isDirectory() ? readDirectory(place, context, digest) : readBundle(place, context, digest);
  }
  if (/^s3:\/\/[^/]*\/?$|\/$/.test(place)) return readStore(place, context, digest);
  const head = await new S3Source(parseS3Url(place), awsAccess(context)).readHead();
  return head === undefined ? readStore(place, context, digest) : readBundle(place, context, digest);
}

async function readDirectory(directory: string, { ui }: Context, digest: Digest): Promise<Side> {
  if ((await stat(path.join(directory, RESERVED)).catch(() => undefined))?.isDirectory() === true) {
    throw new UsageError(
      `cannot compare ${quote(directory)} as a directory: it is a store, and all in it is sealed`,
      {
        hint: `file://${path.resolve(directory)} compares its secrets`,
      },
    );
  }
  const entries = await ui.progress(`reading ${directory}`, () => readTree(directory));
  return sideOf(entries, digest);
}

async function readBundle(bundle: string, context: Context, digest: Digest): Promise<Side> {
  const { plaintext } = await openBundle({ ...context, settings: { ...context.settings, bundle } });
  try {
    return sideOf(
      await readArchive(plaintext, { filesMax: MOUNT_FILES_MAX, bytesMax: TAR_BYTES_MAX }),
      digest,
    );
  } finally {
    plaintext.fill(0);
  }
}

/** Wipes what it has compared. */
function sideOf(entries: Awaited<ReturnType<typeof readTree>>, digest: Digest): Side {
  const side = new Map<string, { bytes: number; hash: string }>();
  for (const entry of entries) {
    if (entry.kind !== 'file') continue;
    side.set(entry.path, { bytes: entry.data.length, hash: digest(entry.data) });
    entry.data.fill(0);
  }
  return side;
}

async function readStore(place: string, context: Context, digest: Digest): Promise<Side> {
  const aws = awsAccess(context);
  const store = createStore(place, aws, {});
  const opener = await createOpener(context, store, aws);
  const objects: StoredObject[] = [];
  for await (const object of store.list()) if (!isSyncKey(object.path)) objects.push(object);
  if (objects.length === 0) context.ui.warn(`there is nothing below ${quote(place)}`);
  const targets = targetsOf(objects);
  const side = new Map<string, { bytes: number; hash: string }>();
  await context.ui.progress(`opening ${place}`, (report) =>
    mapConcurrently(targets, READS_AT_ONCE, async ({ path }) => {
      const { plaintext } = await opener.open(path);
      side.set(path, { bytes: plaintext.length, hash: digest(plaintext) });
      plaintext.fill(0);
      report(side.size / targets.length);
    }),
  );
  return side;
}
