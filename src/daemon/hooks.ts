/**
 * Who is told of each new generation, and whether it arrived (docs/hooks.md). The supervisor calls start() before it mounts,
 * activated() after each activation and stop() before it unmounts; nothing here waits for the mount or sees what is in it.
 */
import { isDeepStrictEqual } from 'node:util';
import type { HookResult, HookStatus, ProbeStatus } from '../control/protocol.ts';
import { ControlError, quote } from '../errors.ts';
import type { Activated } from '../hooks/changes.ts';
import type { ProbeAnswer } from '../hooks/probe-state.ts';
import type { Action, HookSettings } from '../hooks/settings.ts';
import type { Timers } from '../system/timers.ts';
import { type Account, account } from '../system/users.ts';
import type { ProbeRequest } from './agent-channel.ts';
import type { Child } from './children.ts';
import { Hook } from './hook-run.ts';
import type { Log } from './log.ts';

/** Between looks at what is served when nothing has changed, give or take a tenth. */
const LOOK_AROUND_EVERY_MS = 60_000;
/** What was killed is gone by then, or in a call that nothing ends. */
const STOP_MS_MAX = 2_000;

export interface HooksPorts {
  readonly log: Log;
  readonly nowMs: () => number;
  readonly timers: Timers;
  /** From 0 up to 1. */
  readonly random: () => number;
  /** A TLS handshake, made by whoever may use the network. Never rejects. */
  probe(request: ProbeRequest): Promise<ProbeAnswer>;
  spawnHaproxyUpdater(user: Account): Child;
}

export interface HooksStatus {
  readonly hooks: HookStatus[];
  readonly probes: ProbeStatus[];
}

export class Hooks {
  readonly #settings: readonly HookSettings[];
  #mountpoint = '';
  #live: Activated | undefined;
  readonly #ports: HooksPorts;
  #hooks: readonly Hook[] = [];
  #timer: unknown;
  #stopped = false;

  constructor(settings: readonly HookSettings[], ports: HooksPorts) {
    this.#settings = settings;
    this.#ports = ports;
  }

  /** Looks at programs and users. Throws ConfigError config-invalid, config-untrusted. `mountpoint`: without symlinks. */
  async start(mountpoint: string): Promise<void> {
    this.#mountpoint = mountpoint;
    this.#put(await this.#make(this.#settings));
  }

  /**
   * Looks at programs and users of other settings; throws as start(). What it returns makes them the hooks: those whose settings
   * are the same go on, those that are gone end, and what one that is another now had not told is told by it.
   */
  async prepare(settings: readonly HookSettings[]): Promise<() => void> {
    const isKnown = (wanted: HookSettings) =>
      this.#hooks.some((hook) => isDeepStrictEqual(hook.settings, wanted));
    const made = await this.#make(settings.filter((wanted) => !isKnown(wanted)));
    return () => {
      const all = [...this.#hooks, ...made];
      const gone = this.#hooks.filter(
        (hook) => !settings.some((wanted) => isDeepStrictEqual(hook.settings, wanted)),
      );
      this.#put(
        settings.flatMap((wanted) => all.find((hook) => isDeepStrictEqual(hook.settings, wanted)) ?? []),
      );
      if (this.#live !== undefined)
        for (const hook of made) hook.activated({ ...this.#live, first: true, uploaded: null });
      for (const old of gone) {
        const heir = made.find((hook) => hook.settings.name === old.settings.name);
        void old.stop().then(() => heir?.tell(old.untold()));
      }
    };
  }

  async #make(wanted: readonly HookSettings[]): Promise<Hook[]> {
    const hooks: Hook[] = [];
    if (wanted.length === 0) return hooks;
    const root = await account('0');
    for (const settings of wanted) {
      const { action } = settings;
      const named = userOf(action);
      const user = named === undefined ? root : await account(named);
      const owner = action.kind === 'haproxy' ? action.socketOwner : undefined;
      const socketOwner = owner === undefined ? undefined : await account(owner);
      const hook = new Hook(settings, { user, root, socketOwner }, this.#mountpoint, this.#ports);
      hook.check();
      hooks.push(hook);
    }
    return hooks;
  }

  #put(hooks: readonly Hook[]): void {
    this.#hooks = hooks;
    if (this.#timer === undefined && hooks.some(({ probes }) => probes.count > 0)) this.#lookAroundLater();
  }

  /** A generation is live. */
  activated(change: Activated): void {
    this.#live = { ...change, changed: [] };
    for (const hook of this.#hooks) hook.activated(change);
  }

  /** It was live before this process; `isTold`: hooks know. `change` says what there is to tell. */
  resumed(change: Activated, isTold: boolean): void {
    this.#live = { ...change, changed: [] };
    for (const hook of this.#hooks) {
      if (isTold) hook.expect(change);
      else hook.activated(change);
    }
  }

  /** The generation of which every hook has told what there was to tell; undefined while one has not. */
  get told(): number | undefined {
    return this.#hooks.every((hook) => hook.isSettled) ? this.#live?.generation : undefined;
  }

  status(): HooksStatus {
    return {
      hooks: this.#hooks.map((hook) => hook.status()),
      probes: this.#hooks.flatMap((hook) => hook.probes.status()),
    };
  }

  /** Throws ControlError hook-unknown, hook-failed. */
  async run(name: string | undefined): Promise<HookResult> {
    const hook = this.#hooks.find(({ settings }) => settings.name === name);
    if (hook !== undefined) return hook.runNow();
    throw unknownHook(
      name,
      this.#hooks.map(({ settings }) => settings.name),
    );
  }

  /** Ends whatever runs. Returns when that is gone, or soon. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#ports.timers.clear(this.#timer);
    const late = new Promise((resolve) => setTimeout(resolve, STOP_MS_MAX).unref());
    await Promise.race([Promise.all(this.#hooks.map((hook) => hook.stop())), late]);
  }

  #lookAroundLater(): void {
    const { timers, random } = this.#ports;
    this.#timer = timers.set(() => void this.#lookAround(), LOOK_AROUND_EVERY_MS * (0.9 + 0.2 * random()));
  }

  async #lookAround(): Promise<void> {
    for (const { probes } of this.#hooks) if (!this.#stopped) await probes.lookAround();
    if (!this.#stopped) this.#lookAroundLater();
  }
}

/** No hook of that name. */
export function unknownHook(name: string | undefined, known: readonly string[]): ControlError {
  return new ControlError('hook-unknown', `cannot run hook ${quote(name ?? '')}: there is no such hook`, {
    hint: known.length === 0 ? 'this mount has none: hooks: in its config' : `there are: ${known.join(', ')}`,
  });
}

function userOf(action: Action): string | undefined {
  return action.kind === 'run' || action.kind === 'haproxy' ? action.user : undefined;
}
