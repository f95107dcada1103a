/** The processes that an engine asks: who asks the mount whether it answers, and who tells the kernel what has changed. */
import type { EnginePorts } from './engine-ports.ts';
import { Helper } from './helper.ts';

/** Teller and notifier are there for activations, and while something lingers. */
const IDLE_MS = 5_000;

export interface EngineHelpersOptions {
  readonly ports: Pick<EnginePorts, 'spawnProber' | 'spawnTeller' | 'spawnNotifier' | 'log'>;
  /** A view of the mount. Throws before there is one. */
  clone(): number;
  readonly fuseFd: number;
  /** Where the server says which pages are to be dropped; undefined: it does not. */
  readonly dropPipeFd: number | undefined;
  /** The mount is about to go. */
  isEnding(): boolean;
  /** A generation is being made. */
  isMaking(): boolean;
}

/** None of them is started yet. */
export function makeHelpers(options: EngineHelpersOptions): {
  readonly prober: Helper;
  readonly teller: Helper;
  readonly notifier: Helper;
} {
  const { ports, clone, fuseFd, dropPipeFd, isEnding, isMaking } = options;
  const { log } = ports;
  return {
    prober: new Helper({
      spawn: () => ports.spawnProber({ clone: clone() }),
      onDeath: (how) => {
        // One that starts as the mount ends finds it closed.
        if (!isEnding()) log.warn('prober-died', { ...how });
      },
      onNotStarted: (error) => log.warn('prober-died', { error }),
    }),
    teller: new Helper({
      spawn: () => ports.spawnTeller({ clone: clone() }),
      onDeath: (how) => log.warn('teller-died', { ...how }),
      onNotStarted: (error) => log.warn('teller-died', { error }),
      idleMs: IDLE_MS,
      isExpected: isMaking,
      endLate: true,
    }),
    notifier: new Helper({
      spawn: () => ports.spawnNotifier({ fuse: fuseFd, dropPipe: dropPipeFd }),
      onDeath: (how) => log.warn('notifier-died', { ...how }),
      onNotStarted: (error) => log.warn('notifier-died', { error }),
      // The server's pipe must have a reader.
      idleMs: dropPipeFd === undefined ? IDLE_MS : undefined,
      isExpected: isMaking,
    }),
  };
}
