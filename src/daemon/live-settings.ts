/**
 * Takes over the settings of a running mount that need no restart (reload-policy.ts), all of them or none: what can fail
 * comes first, while no bundle is being taken. The bundle is looked at again where it, or what it is judged by, is another:
 * what is live is opened once more then, and stays as it is where it would be refused now.
 */
import { isDeepStrictEqual } from 'node:util';
import type { OpensSettings } from '../opens/rules.ts';
import type { Engine } from './engine.ts';
import type { ExecChecks } from './exec-checks.ts';
import { JUDGED_BY } from './facts.ts';
import type { Hooks } from './hooks.ts';
import type { PartOptions } from './mount-options.ts';
import { mountRules, nodesMax } from './part-paths.ts';
import type { Parts } from './parts.ts';
import type { ServedRules } from './served-rules.ts';
import type { SupervisorOptions } from './supervisor-options.ts';

/** What the agent is told of it. */
const WATCHED: readonly (keyof PartOptions)[] = ['sources', 'pollMs', 'spreadMs', 'queue', 'aws'];

export interface LiveMount {
  readonly parts: Pick<Parts, 'between' | 'configure'>;
  readonly hooks: Pick<Hooks, 'prepare'>;
  readonly engine: Pick<Engine, 'configure' | 'replaceServers'>;
  readonly rules: ServedRules;
  /** As servers are told it when they start. */
  readonly opens: { current: OpensSettings };
  /** Throws ConfigError. */
  makeChecks(options: SupervisorOptions): Promise<ExecChecks | undefined>;
  /** From now on these are the options. `checks`: undefined where those before go on. */
  commit(options: SupervisorOptions, checks: { readonly now: ExecChecks | undefined } | undefined): void;
  /** Watches the sources by the options of now. */
  watchAgain(): void;
  /** Looks at the sources; `anew`: what is live is opened, too. */
  look(anew: boolean): void;
}

/** Throws SecretsfsError, and everything is as it was. */
export async function applyLive(
  before: SupervisorOptions,
  next: SupervisorOptions,
  mount: LiveMount,
): Promise<void> {
  const { parts, hooks } = mount;
  const differs = (option: keyof SupervisorOptions) => !isDeepStrictEqual(before[option], next[option]);
  const partsDiffer = (...options: readonly (keyof PartOptions)[]) =>
    next.parts.some((part, i) =>
      options.some((option) => !isDeepStrictEqual(before.parts[i]?.[option], part[option])),
    );
  await parts.between(async () => {
    const putHooks = await hooks.prepare(next.hooks);
    const checks =
      differs('execChecks') || partsDiffer('rules') ? { now: await mount.makeChecks(next) } : undefined;
    if (differs('consistencyWindowMs') || differs('opens') || partsDiffer('rules'))
      await replaceServers(before, next, mount);
    // From here on nothing fails.
    mount.engine.configure({ retireAfterMs: next.retireAfterMs, nodesMax: nodesMax(next.parts) });
    parts.configure(next);
    mount.commit(next, checks);
    putHooks();
    if (differs('metrics') || partsDiffer(...WATCHED)) mount.watchAgain();
  });
  if (partsDiffer(...JUDGED_BY)) mount.look(true);
  else if (partsDiffer('sources', 'aws')) mount.look(false);
}

/** They are told of it when they start. */
async function replaceServers(
  before: SupervisorOptions,
  next: SupervisorOptions,
  { engine, rules, opens: served }: LiveMount,
): Promise<void> {
  const tell = ({ parts, consistencyWindowMs, opens }: SupervisorOptions) => {
    served.current = opens;
    rules.set(mountRules(parts));
    engine.configure({ consistencyWindowMs });
  };
  tell(next);
  try {
    await engine.replaceServers();
  } catch (error) {
    tell(before);
    throw error;
  }
}
