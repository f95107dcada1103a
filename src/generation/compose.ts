/**
 * The trees of several bundles, each below a directory of its own, as the entries of one generation. Whatever a tree has
 * in it, it can't reach out of its directory: its paths come from an image that was checked, and stand behind a prefix.
 */
import { Buffer } from 'node:buffer';
import type { ArchiveEntry } from '../bundle/archive.ts';
import { BundleError, quote } from '../errors.ts';
import { DEPTH_MAX, PATH_BYTES_MAX } from '../limits.ts';
import { entriesOf } from './assemble.ts';
import type { Generation } from './generation.ts';

/** `directory`: one name. Without a `tree` it is empty. */
export interface ComposedPart {
  readonly directory: string;
  readonly tree: Generation | undefined;
}

const EMPTY_MODE = 0o755;

/**
 * Parents first, the root left out. Contents are copies, the caller's to wipe. Throws BundleError archive-refused for
 * what is too deep or too long below its directory, and RangeError where an image ends before its contents do.
 */
export function* composedEntries(parts: readonly ComposedPart[]): Generator<ArchiveEntry> {
  for (const { directory, tree } of parts) {
    const { mode, uid, gid } =
      tree === undefined
        ? { mode: EMPTY_MODE, uid: 0, gid: 0 }
        : { mode: tree.mode(0) & 0o777, uid: tree.uid(0), gid: tree.gid(0) };
    yield { kind: 'directory', path: directory, mode, uid, gid };
    if (tree === undefined) continue;
    for (const entry of entriesOf(tree)) {
      const path = `${directory}/${entry.path}`;
      if (path.split('/').length > DEPTH_MAX || Buffer.byteLength(path) > PATH_BYTES_MAX) {
        throw new BundleError(
          'archive-refused',
          `cannot put ${quote(entry.path)} below ${quote(directory)}: want at most ${DEPTH_MAX} levels and ${PATH_BYTES_MAX} bytes`,
          { hint: 'shorten the path in the bundle, or the name of its directory (mounts:)' },
        );
      }
      yield { ...entry, path };
    }
  }
}
