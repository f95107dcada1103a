/** Mounts that do wrong, each in one way, for whoever says whether a mount does right (test/support/fault-verdict.ts). */
import { contentOf, type FaultSubject } from './fault-verdict.ts';

interface Broken {
  readonly does: string;
  /** What is found wrong. */
  readonly found: RegExp;
  /** Whether it takes a schedule whose last upload is refused. */
  readonly endsBadly?: boolean;
  readonly how: (mount: FaultSubject) => Partial<FaultSubject>;
}

/** What there was before the last change of what is asked for. */
function lagging<T>(ask: () => Promise<T>): () => Promise<T> {
  let last: T | undefined;
  let before: T | undefined;
  return async () => {
    const now = await ask();
    if (now !== last) [before, last] = [last, now];
    return before ?? now;
  };
}

const DENIED = { code: 'source-denied', message: 'denied', since: '2026-01-01T00:00:00.000Z', attempts: 1 };

export const BROKEN: readonly Broken[] = [
  {
    does: 'serves a key of the generation before its certificate',
    found: /key is of \d+, and \d+ (was served before|is the newest)/,
    how: (mount) => {
      const key = lagging(() => mount.read('key'));
      return { read: (name) => (name === 'key' ? key() : mount.read(name)) };
    },
  },
  {
    does: 'serves a certificate of the generation before its key',
    found: /certificate is of \d+, and \d+ (was served before|is the newest)/,
    how: (mount) => {
      const certificate = lagging(() => mount.read('certificate'));
      return { read: (name) => (name === 'key' ? mount.read(name) : certificate()) };
    },
  },
  {
    does: 'serves a file with bytes of two generations',
    found: /key is not of one generation/,
    how: (mount) => {
      const old = lagging(() => mount.read('key'));
      return {
        read: async (name) =>
          name === 'key'
            ? (await old()).slice(0, 100) + (await mount.read(name)).slice(100)
            : mount.read(name),
      };
    },
  },
  {
    does: 'serves a byte that nobody uploaded',
    found: /certificate is not of one generation/,
    how: (mount) => ({ read: async (name) => `${(await mount.read(name)).slice(0, -1)}!` }),
  },
  {
    does: 'serves what is to be refused',
    found: /certificate is of \d+, which is no good upload/,
    how: (mount) => ({ read: async (name) => contentOf(name, mount.newest() + 1) }),
  },
  {
    does: 'goes back to an older generation, and says so',
    found: /is of 1, and \d+ was served before/,
    how: (mount) => {
      let reads = 0;
      const isBack = () => reads > 4;
      return {
        read: async (name) => (++reads > 4 ? contentOf(name, 1) : mount.read(name)),
        said: async () => ({ ...(await mount.said()), ...(isBack() ? { serial: 1 } : {}) }),
      };
    },
  },
  {
    does: 'stays with one generation, and says so',
    found: /Expected values to be strictly deep-equal/,
    how: (mount) => {
      const first = mount.newest();
      return {
        read: async (name) => contentOf(name, first),
        said: async () => ({ ...(await mount.said()), serial: first }),
      };
    },
  },
  {
    does: 'says that the newest is live before it is served',
    found: /status says \d+, served were \d+ and \d+/,
    how: (mount) => ({ said: async () => ({ ...(await mount.said()), serial: mount.newest() }) }),
  },
  {
    does: 'says that nothing is live',
    found: /status says undefined, served were/,
    how: (mount) => ({ said: async () => ({ ...(await mount.said()), serial: undefined }) }),
  },
  {
    does: 'says that all is well when a bundle was refused',
    found: /Expected values to be strictly deep-equal/,
    endsBadly: true,
    how: (mount) => ({
      said: async () => ({ ...(await mount.said()), state: 'live', error: null, nextAttempt: null }),
    }),
  },
  {
    does: 'says that it fails, and not why',
    found: /status says failing, with undefined/,
    how: (mount) => ({ said: async () => ({ ...(await mount.said()), state: 'failing', error: null }) }),
  },
  {
    does: 'does not say that it has recovered',
    found: /Expected values to be strictly deep-equal/,
    how: (mount) => ({
      said: async () => ({ ...(await mount.said()), state: 'failing', error: DENIED }),
    }),
  },
];
