/**
 * Who is told of each new generation, and whether it arrived (docs/hooks.md). The supervisor calls start() before it mounts,
 * activated() after each activation and stop() before it unmounts; nothing here waits for the mount or sees what is in it.
 */
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
    if (this.#settings.length === 0) return;
    const hooks: Hook[] = [];
    const root = await account('0');
    for (const settings of this.#settings) {
      const { action } = settings;
      const named = userOf(action);
      const user = named === undefined ? root : await account(named);
      const owner = action.kind === 'haproxy' ? action.socketOwner : undefined;
      const socketOwner = owner === undefined ? undefined : await account(owner);
      const hook = new Hook(settings, { user, root, socketOwner }, mountpoint, this.#ports);
      hook.check();
      hooks.push(hook);
    }
    this.#hooks = hooks;
    if (hooks.some(({ probes }) => probes.count > 0)) this.#lookAroundLater();
  }

  /** A generation is live. */
  activated(change: Activated): void {
    for (const hook of this.#hooks) hook.activated(change);
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
