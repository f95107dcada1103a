/** Going on with the mount of another supervisor (handover.ts), and what the one after this must know. */
import type { Engine } from './engine.ts';
import type { Handed } from './handed.ts';
import type { Hooks } from './hooks.ts';
import type { Log } from './log.ts';
import type { Parts } from './parts.ts';
import { numberIn } from './restored.ts';

/** Of which generation all hooks were told; a note. */
const HOOKS_TOLD = 'hooks-told';

export interface ResumingPorts {
  readonly parts: Pick<Parts, 'resume' | 'latest' | 'certificates'>;
  readonly hooks: Pick<Hooks, 'resumed'>;
  readonly log: Log;
}

/** Returns when the mount answers again. Throws MountError where it does not: `engine` is to be stopped then. */
export async function resume(
  engine: Pick<Engine, 'resume'>,
  { restored, facts }: Handed,
  { parts, hooks, log }: ResumingPorts,
): Promise<void> {
  const { live, latest, store } = restored;
  await engine.resume(restored);
  await parts.resume(facts, live);
  const serial = parts.latest?.state.live?.serial ?? 0;
  const changed = latest?.files ?? [];
  const { certificates } = parts;
  hooks.resumed(
    { generation: live, serial, first: changed.length === 0, changed, certificates, uploaded: null },
    numberIn(store, HOOKS_TOLD) === live,
  );
  // Of the process, the start of Node included.
  log.info('resumed', { generation: live, serial, ms: Math.round(performance.now()) });
}

/** Notes once of each generation that hooks were told. To be called now and then while the mount is there. */
export class HooksTold {
  #generation = 0;

  look({ ground }: Pick<Engine, 'ground'>, { told }: Pick<Hooks, 'told'>): void {
    if (told === undefined || ground === undefined || told === this.#generation) return;
    this.#generation = told;
    ground.store.notes.write(HOOKS_TOLD, `${told}`);
  }
}
