/**
 * Tells when a path may name other bytes than before: rewritten in place, replaced by rename, or reached through a
 * symlink that was switched (Kubernetes' ..data), also when a directory on the way appears only later. Watches each
 * directory that resolving the path goes through, and in it only the name that matters. A slow poll of the file's
 * identity stands behind it, for file systems that report nothing and for an inotify limit that is used up.
 */
import { lstat, readlink, stat } from 'node:fs/promises';
import path from 'node:path';
import type { FSWatcher } from 'chokidar';
import { fileIdentity } from '../system/file-identity.ts';
import { realTimers, type Timers } from '../system/timers.ts';
import { startPolling } from './poll.ts';
import type { Watch } from './source.ts';

export interface FileWatchOptions {
  /** A writer in place needs several writes: they become one hint. */
  readonly debounceMs?: number;
  readonly pollIntervalMs?: number;
  readonly timers?: Timers;
}

const DEBOUNCE_MS = 150;
const POLL_INTERVAL_MS = 10_000;
/** As the kernel. */
const SYMLINKS_MAX = 40;

/** Directory → names in it that decide where `file` leads. A missing part ends the way: its parent is watched. */
export async function pathDependencies(file: string): Promise<Map<string, Set<string>>> {
  const dependencies = new Map<string, Set<string>>();
  const pending = path.resolve(file).split('/').filter(Boolean);
  let directory = '/';
  let symlinks = 0;
  while (pending.length > 0) {
    const name = pending.shift() ?? '';
    if (name === '.') continue;
    if (name === '..') {
      directory = path.dirname(directory);
      continue;
    }
    const names = dependencies.get(directory) ?? new Set();
    names.add(name);
    dependencies.set(directory, names);
    const here = path.join(directory, name);
    const found = await lstat(here).catch(() => undefined);
    if (found === undefined) break;
    if (found.isSymbolicLink()) {
      if (++symlinks > SYMLINKS_MAX) break;
      const target = await readlink(here).catch(() => undefined);
      if (target === undefined) break;
      pending.unshift(...target.split('/').filter(Boolean));
      if (target.startsWith('/')) directory = '/';
    } else if (found.isDirectory()) {
      directory = here;
    } else {
      break;
    }
  }
  return dependencies;
}

async function identity(file: string): Promise<string> {
  const found = await stat(file, { bigint: true }).catch(() => undefined);
  return found === undefined ? 'missing' : fileIdentity(found);
}

const asText = (dependencies: Map<string, Set<string>>): string =>
  JSON.stringify([...dependencies].map(([directory, names]) => [directory, ...names]));

export function watchFile(file: string, hint: () => void, options: FileWatchOptions = {}): Watch {
  const { debounceMs = DEBOUNCE_MS, pollIntervalMs = POLL_INTERVAL_MS, timers = realTimers } = options;
  let closed = false;
  let debounce: unknown;
  let watchers: FSWatcher[] = [];
  let watched = '';
  let seen: string | undefined;
  let work: Promise<void> = Promise.resolve();

  /** One thing after the other; nothing once closed. */
  const enqueue = (step: () => Promise<void>): void => {
    work = work.then(() => (closed ? undefined : step())).catch(() => undefined);
  };

  const changed = (): void => {
    if (closed) return;
    timers.clear(debounce);
    debounce = timers.set(() => enqueue(look), debounceMs);
  };

  /** Follows the path anew, and gives the hint if it leads to something else than before. */
  const look = async (): Promise<void> => {
    await follow();
    const now = await identity(file);
    if (closed || now === seen) return;
    seen = now;
    hint();
  };

  const closeWatchers = async (): Promise<void> => {
    await Promise.all(watchers.map((watcher) => watcher.close()));
  };

  const follow = async (): Promise<void> => {
    // A change while the watches are being set up must not fall between them: look again until it is stable.
    for (let round = 0; round < 10 && !closed; round++) {
      const dependencies = await pathDependencies(file);
      const wanted = asText(dependencies);
      if (wanted === watched) return;
      await closeWatchers();
      watched = wanted;
      watchers = await watchNames(dependencies, changed);
      await Promise.all(watchers.map(ready));
    }
  };

  // The first look always hints: between the caller's last fetch and now there may have been a change.
  enqueue(look);
  const poll = startPolling(() => enqueue(look), pollIntervalMs, timers);

  return {
    async close() {
      closed = true;
      timers.clear(debounce);
      await poll.close();
      await work;
      await closeWatchers();
    },
  };
}

/** A watcher for each directory: one watcher for directories within each other loses events (chokidar 5.0). */
async function watchNames(dependencies: Map<string, Set<string>>, changed: () => void): Promise<FSWatcher[]> {
  // Who only reads a file does not load it.
  const { watch } = await import('chokidar');
  return [...dependencies].map(([directory, names]) => {
    const watcher = watch(directory, {
      depth: 0,
      followSymlinks: false,
      ignoreInitial: true,
      persistent: true,
      // Of a directory such as /tmp or /etc, only the names that matter.
      ignored: (candidate) =>
        candidate !== directory &&
        !(path.dirname(candidate) === directory && names.has(path.basename(candidate))),
    });
    watcher.on('all', changed);
    // A file that this user may not read can't be watched itself, and 'all' says nothing of it; its directory can.
    watcher.on('raw', (_event: string, name: unknown) => {
      if (typeof name === 'string' && names.has(name)) changed();
    });
    // Out of inotify watches, say: the poll goes on.
    watcher.on('error', () => undefined);
    return watcher;
  });
}

function ready(watcher: FSWatcher): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 2_000);
    watcher.once('ready', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
