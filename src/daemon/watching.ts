/** What notices changes, put together: looks at the sources, and a queue where there is one. In an agent, or in one process. */
import { describeBug } from '../errors.ts';
import { listenToQueue, type Queue, type QueueStatus } from '../source/queue.ts';
import { parseS3Url } from '../source/s3-url.ts';
import type { Source, Watch } from '../source/source.ts';
import { realTimers } from '../system/timers.ts';
import { type NoticingState, toldError } from './agent-channel.ts';
import { isDirectory, isS3Url } from './location.ts';
import { Noticing, type NoticingOptions, type NoticingPorts } from './noticing.ts';

export interface WatchingPorts extends Pick<NoticingPorts, 'known' | 'looked'> {
  readonly sources: readonly Source[];
  /** undefined: there is none. */
  readonly openQueue: (() => Promise<Queue>) | undefined;
  /** To be shown. */
  state(state: NoticingState): void;
  bug(description: string): void;
}

export function watchSources(options: NoticingOptions, ports: WatchingPorts): Watch {
  const common = { timers: realTimers, random: Math.random, nowMs: Date.now };
  let nextLookMs: number | null = null;
  let queueStatus: QueueStatus | undefined;
  const tell = () => ports.state({ nextLookMs, queue: queueStatus === undefined ? null : told(queueStatus) });
  const noticing = new Noticing(options, {
    ...common,
    sources: ports.sources,
    known: ports.known,
    looked: ports.looked,
    scheduled: (atMs) => {
      nextLookMs = atMs ?? null;
      tell();
    },
    bug: ports.bug,
  });
  const { openQueue } = ports;
  const queue =
    openQueue === undefined
      ? undefined
      : listenToQueue({
          ...common,
          open: openQueue,
          places: ports.sources
            .filter(({ location }) => isS3Url(location) && !isDirectory(location))
            .map(({ location }) => parseS3Url(location)),
          hint: () => noticing.hint(),
          status: (status) => {
            queueStatus = status;
            tell();
          },
          bug: (error) => ports.bug(describeBug(error)),
        });
  return {
    async close() {
      await Promise.all([noticing.close(), queue?.close()]);
    },
  };
}

function told({ state, heardMs, messages, error }: QueueStatus): NonNullable<NoticingState['queue']> {
  return { state, heardMs: heardMs ?? null, messages, error: error === undefined ? null : toldError(error) };
}
