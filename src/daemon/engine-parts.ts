/**
 * What an engine is made of, put together: the store and the connection, the control page, the processes and who looks after
 * them, and what the kernel is told. Who does what stands in each; who does it when, in engine.ts.
 */
import { openDevice } from '../fuse/device.ts';
import type { ChangeList } from '../generation/changes.ts';
import { RamfsStore } from '../store/ramfs.ts';
import { makePipe } from '../system/files.ts';
import { ControlPage } from './control-page.ts';
import { makeHelpers } from './engine-helpers.ts';
import type { EngineOptions, EnginePorts } from './engine-ports.ts';
import type { Helper } from './helper.ts';
import type { InPass } from './in-pass.ts';
import { Inodes } from './inodes.ts';
import type { KeptChanges } from './kept-changes.ts';
import { isStopped, Liveness } from './liveness.ts';
import { Offer } from './offer.ts';
import { NAMES_TOLD, type Restored } from './restored.ts';
import type { Retirement } from './retirement.ts';
import { Servers } from './servers.ts';
import { makeSuperseded } from './superseded.ts';
import { Telling } from './telling.ts';

/** What they ask of the engine. */
export interface EngineState {
  /** Those of now. */
  options(): EngineOptions;
  /** Of the mount, as helpers are given it: they start once there is one. */
  cloneFd(): number;
  isEnding(): boolean;
  /** Candidates are written, or about to go live. */
  isMaking(): boolean;
  live(): number | undefined;
  /** The server answered. */
  onAlive(): void;
  /** Looks at these names when no activation is under way. */
  look(changes: ChangeList): Promise<void>;
  onFailed(error: unknown): void;
}

export interface EngineParts {
  readonly store: RamfsStore;
  readonly fuseFd: number;
  /** From the server to the notifier: pages that are to be dropped again. */
  readonly dropPipe: { readonly readFd: number; readonly writeFd: number } | undefined;
  readonly page: ControlPage;
  readonly servers: Servers;
  readonly prober: Helper;
  readonly teller: Helper;
  readonly notifier: Helper;
  readonly liveness: Liveness;
  readonly offer: Offer;
  readonly inodes: Inodes;
  readonly telling: Telling;
  readonly inPass: InPass;
  readonly retirement: Retirement;
  readonly changes: KeptChanges;
}

/** Opens the store and the device, or takes those that are `restored`. No process is started yet. Throws MountError. */
export function makeEngineParts(
  state: EngineState,
  ports: EnginePorts,
  restored: Restored | undefined,
): EngineParts {
  const { cache, fastOpen, resend, preserve, users } = state.options();
  const { log } = ports;
  const fuseFd = restored?.fuseFd ?? openDevice();
  const { uid, gid } = users.server;
  const store = restored?.store ?? RamfsStore.create({ serverUid: uid, serverGid: gid });
  const policy = {
    ...{ cachePolicy: cache, fastOpen, resend, preserve },
    get consistencyWindowMs() {
      return state.options().consistencyWindowMs;
    },
  };
  const page = new ControlPage(store, policy, restored?.control);
  const dropPipe = cache === 'none' ? makePipe() : undefined;
  const { prober, teller, notifier } = makeHelpers({
    ports,
    clone: () => state.cloneFd(),
    fuseFd,
    dropPipeFd: dropPipe?.readFd,
    isEnding: () => state.isEnding(),
    isMaking: () => state.isMaking(),
  });
  const servers = new Servers({
    spawn: () => ports.spawnServer({ fuse: fuseFd, store: store.directoryFd, dropPipe: dropPipe?.writeFd }),
    recordedRequest: () => store.recordedRequest(),
    beforeGo: () => page.show({ handOver: false }),
    onDeath: () => offer.serverDied(),
    log,
  });
  const liveness = new Liveness({
    ...{ prober, servers, isStopped, log },
    requests: () => page.status?.requests ?? 0,
    onAlive: () => state.onAlive(),
    onLost: ports.onLost,
  });
  const offer = new Offer(page, (timeoutMs) => liveness.probe(timeoutMs));
  const inodes = new Inodes(notifier);
  const onTold = () => store.notes.write(NAMES_TOLD, `${state.live()}`);
  const telling = new Telling({ teller, inodes, token: page.token, log, onTold });
  if (restored?.owed !== undefined) telling.owe(restored.owed);
  const superseded = makeSuperseded({
    ...{ ports, store, page, inodes, offer, restored },
    options: () => state.options(),
    live: () => state.live(),
    look: (changes) => state.look(changes),
    onFailed: (error) => state.onFailed(error),
  });
  return {
    ...{ store, fuseFd, dropPipe, page, servers, prober, teller, notifier, liveness, offer, inodes, telling },
    ...superseded,
  };
}
