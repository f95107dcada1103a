/** What an engine does with generations that are live no more: who may be in one, and when it goes. */
import { LINGERING_IN_STORE_MAX } from '../limits.ts';
import type { RamfsStore } from '../store/ramfs.ts';
import type { ControlPage } from './control-page.ts';
import type { EngineOptions, EnginePorts } from './engine-ports.ts';
import { InPass, type InPassPorts } from './in-pass.ts';
import type { Inodes } from './inodes.ts';
import { KeptChanges } from './kept-changes.ts';
import { PROBE_MS_MAX } from './liveness.ts';
import type { Offer } from './offer.ts';
import type { Restored } from './restored.ts';
import { Retirement } from './retirement.ts';

export interface SupersededOptions extends Pick<InPassPorts, 'live' | 'look' | 'onFailed'> {
  /** Those of now. */
  options(): Pick<EngineOptions, 'retireAfterMs' | 'consistencyWindowMs'>;
  readonly ports: Pick<EnginePorts, 'log' | 'nowMs'>;
  readonly store: RamfsStore;
  readonly page: ControlPage;
  readonly offer: Offer;
  readonly inodes: Inodes;
  readonly restored: Restored | undefined;
}

/** What lingered before goes on lingering. Neither has begun. */
export function makeSuperseded(made: SupersededOptions): {
  readonly inPass: InPass;
  readonly retirement: Retirement;
  readonly changes: KeptChanges;
} {
  const { options, ports, store, page, offer, inodes, restored, live, look, onFailed } = made;
  const { log, nowMs } = ports;
  const changes = new KeptChanges(store, restored?.changes ?? []);
  const inPass = new InPass({
    get windowMs() {
      return options().consistencyWindowMs;
    },
    passes: () => page.status,
    ...{ live, look, onFailed, nowMs },
  });
  const retirement = new Retirement({
    held: (asked) => inodes.held(asked),
    inUse: (superseded) => inPass.mayOpenMore(superseded),
    onHeld: (superseded) => inPass.look(superseded),
    withdraw: async (id) => {
      page.withdraw(id);
      await offer.synced(PROBE_MS_MAX);
    },
    dropPages: (held) => inodes.dropPages(held),
    wipe: (id) => store.wipe(id),
    ...{ onFailed, nowMs },
    onRetired: ({ id }, why) => {
      log.info('retired', { generation: id, why });
      changes.settle(live(), retirement.lingering).catch(onFailed);
    },
    get retireAfterMs() {
      return options().retireAfterMs;
    },
    lingeringMax: LINGERING_IN_STORE_MAX,
  });
  for (const each of restored?.lingering ?? []) {
    if (each.changes !== undefined) inPass.add(each.superseded, each.changes);
    retirement.add(each.superseded);
  }
  return { inPass, retirement, changes };
}
