/** The config of a running supervisor: what changes in it is taken over while it serves. */
import { ConfigLive } from './config-live.ts';
import type { Hooks } from './hooks.ts';
import { applyLive } from './live-settings.ts';
import type { Mounted } from './mounted.ts';
import type { Parts } from './parts.ts';
import type { SupervisorOptions, SupervisorPorts } from './supervisor-options.ts';

export interface Configured {
  readonly mounted: Mounted;
  readonly parts: Parts;
  readonly hooks: Hooks;
  /** Those of now. */
  options(): SupervisorOptions;
  /** From now on these are. */
  commit(options: SupervisorOptions): void;
  /** As in LiveMount. */
  watchAgain(): void;
  look(anew: boolean): void;
}

/** undefined: there is none that could change. */
export function watchConfig(
  { config: source, log, nowMs }: SupervisorPorts,
  { mounted, parts, hooks, options, commit, watchAgain, look }: Configured,
): ConfigLive | undefined {
  if (source === undefined) return undefined;
  const apply = (next: SupervisorOptions) =>
    applyLive(options(), next, {
      ...{ parts, hooks, watchAgain, look },
      ...{ engine: mounted.running, rules: mounted.rules, opens: mounted.opens },
      makeChecks: (of) => mounted.makeChecks(of),
      commit: (committed, checks) => {
        commit(committed);
        if (checks !== undefined) mounted.useChecks(checks.now);
      },
    });
  return new ConfigLive({ source, running: options(), apply, log, nowMs });
}
