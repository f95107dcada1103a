/** Secrets of a store as a tar: what `pack PATTERN… OUT` seals. */
import { type ArchiveEntry, writeArchive } from '../bundle/archive.ts';
import { quote, SourceError } from '../errors.ts';
import { TAR_BYTES_MAX } from '../limits.ts';
import { mapConcurrently } from '../secrets/concurrent.ts';
import { targetsOf } from '../secrets/rotation-pair.ts';
import { selectObjects } from '../secrets/select.ts';
import type { StoredObject } from '../secrets/store.ts';
import { isSyncKey } from '../secrets/sync.ts';
import { awsAccess } from './bundles.ts';
import { type Context, optionalTextArg } from './command.ts';
import { wipeEntries } from './read-tree.ts';
import { createOpener } from './secrets.ts';
import { openStore } from './stores.ts';
import { plural } from './ui.ts';

/** Each costs a GET and a KMS Decrypt. */
const READS_AT_ONCE = 32;
/** As sneaker packed them. */
const FILE = { kind: 'file', mode: 0o400, uid: 0, gid: 0 } as const;

/**
 * A tar of what the patterns match, each a file of its path, but for keys of sync. The caller wipes it. What opens them is --accept-key, else as
 * createOpener() has it: --key and --context are the bundle's.
 */
export async function packStored(
  patterns: readonly string[],
  args: Readonly<Record<string, unknown>>,
  context: Context,
): Promise<Buffer> {
  const { settings, ui, env } = context;
  const aws = awsAccess(context);
  const store = openStore(context, aws);
  const storeContext = optionalTextArg(args, 'storeContext') ?? (env['SNEAKER_MASTER_CONTEXT'] || undefined);
  const opening = { ...settings, context: storeContext === undefined ? [] : [storeContext] };
  const opener = await createOpener({ settings: opening }, store, aws);
  const objects: StoredObject[] = [];
  for await (const object of selectObjects(store, patterns))
    if (!isSyncKey(object.path)) objects.push(object);
  const bytes = objects.reduce((sum, object) => sum + object.bytes, 0);
  if (bytes > TAR_BYTES_MAX) {
    throw new SourceError(
      'source-too-large',
      `cannot pack ${quote(patterns.join(' '))}: ${plural(objects.length, 'secret')} have ${bytes} bytes, want at most ${TAR_BYTES_MAX}`,
      { hint: 'make several bundles of them' },
    );
  }
  const entries: ArchiveEntry[] = [];
  try {
    await ui.progress(`opening ${plural(objects.length, 'secret')}`, (report) =>
      mapConcurrently(targetsOf(objects), READS_AT_ONCE, async ({ path }) => {
        const { plaintext } = await opener.open(path);
        entries.push({ ...FILE, path, data: plaintext });
        report(entries.length / objects.length);
      }),
    );
    return await writeArchive(entries.sort((a, b) => (a.path < b.path ? -1 : 1)));
  } finally {
    wipeEntries(entries);
  }
}
