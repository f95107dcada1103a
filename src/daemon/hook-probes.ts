/**
 * The probes of one hook: after a generation went live they are repeated, faster at first, until the certificate that is in
 * the mount is the one that is served, or time is up; and slowly ever after. Each is told to the log when what it says changes.
 */
import type { ProbeStatus } from '../control/protocol.ts';
import type { Activated } from '../hooks/changes.ts';
import { type ProbeAnswer, ProbeState, type ProbeVerdict } from '../hooks/probe-state.ts';
import type { ProbeSettings } from '../hooks/settings.ts';
import type { Timers } from '../system/timers.ts';
import type { ProbeRequest } from './agent-channel.ts';
import type { Log } from './log.ts';

const LOOK_AGAIN_MS_MIN = 50;
const LOOK_AGAIN_MS_MAX = 2_000;
const HANDSHAKE_MS_MAX = 5_000;

export interface HookProbesPorts {
  readonly log: Log;
  readonly nowMs: () => number;
  readonly timers: Timers;
  /** Never rejects. */
  probe(request: ProbeRequest): Promise<ProbeAnswer>;
}

export interface Look {
  readonly withinMs: number;
  /** It is not worth while any more: something newer is to be told. */
  isOver(): boolean;
  /** A server that answers with another certificate is an answer, and not waited for. */
  readonly once?: boolean;
}

interface Probe {
  readonly settings: ProbeSettings;
  readonly name: string;
  readonly state: ProbeState;
  /** The verdict that the log was told last, with the serial of one that is served. */
  told: string;
}

export class HookProbes {
  readonly #hook: string;
  readonly #ports: HookProbesPorts;
  readonly #probes: readonly Probe[];

  constructor(hook: string, probes: readonly ProbeSettings[], ports: HookProbesPorts) {
    this.#hook = hook;
    this.#ports = ports;
    this.#probes = probes.map((settings) => {
      const { address, servername } = settings;
      const name = servername === undefined ? address : `${address} ${servername}`;
      return { settings, name, state: new ProbeState(), told: 'unknown' };
    });
  }

  get count(): number {
    return this.#probes.length;
  }

  /** From when on a generation is served; `nowMs` where it is not known when its bundle was uploaded. */
  expect({ certificates, uploaded }: Activated): void {
    const uploadedMs = uploaded === null ? Number.NaN : Date.parse(uploaded);
    const fromMs = Number.isNaN(uploadedMs) ? this.#ports.nowMs() : uploadedMs;
    for (const { settings, state } of this.#probes) {
      state.expect(certificates.find(({ path }) => path === settings.certificate)?.serial, fromMs);
    }
  }

  /** Returns what is worst: wrong, unreachable, unknown, served. */
  async look({ withinMs, isOver, once = false }: Look): Promise<ProbeVerdict> {
    const { nowMs, timers } = this.#ports;
    const deadlineMs = nowMs() + withinMs;
    for (let waitMs = LOOK_AGAIN_MS_MIN; ; waitMs = Math.min(2 * waitMs, LOOK_AGAIN_MS_MAX)) {
      const leftMs = deadlineMs - nowMs();
      const open = this.#probes.filter(({ state }) => state.verdict !== 'served');
      await Promise.all(
        open.map((probe) => this.#ask(probe, Math.max(1, Math.min(leftMs, HANDSHAKE_MS_MAX)))),
      );
      const verdict = this.#worst();
      const isSettled = verdict === 'served' || verdict === 'unknown' || (once && verdict === 'wrong');
      if (isSettled || isOver()) return verdict;
      if (nowMs() + waitMs >= deadlineMs) {
        this.#tell();
        return verdict;
      }
      await new Promise<void>((resolve) => timers.set(resolve, waitMs));
    }
  }

  /** Once each, served or not: for the long time between rotations. */
  async lookAround(): Promise<void> {
    for (const probe of this.#probes) await this.#ask(probe, HANDSHAKE_MS_MAX);
    this.#tell();
  }

  /** In words, of the first that is not as it should be. The agent is not believed, only quoted. */
  describe(): string {
    const probe = this.#probes.find(({ state }) => state.verdict === this.#worst());
    if (probe === undefined) return 'no probe';
    const { name, state } = probe;
    if (state.verdict === 'unreachable')
      return `the agent says that ${name} can't be reached: ${state.error}`;
    return `the agent says that ${name} serves serial ${state.served}, want ${state.expected}`;
  }

  status(): ProbeStatus[] {
    return this.#probes.map(({ name, settings, state }) => {
      return {
        name,
        hook: this.#hook,
        certificate: settings.certificate,
        verdict: state.verdict,
        ...state.status(),
      };
    });
  }

  async #ask(probe: Probe, timeoutMs: number): Promise<void> {
    const { address, servername } = probe.settings;
    const { state } = probe;
    const request = {
      address,
      timeoutMs: Math.ceil(timeoutMs),
      ...(servername === undefined ? {} : { servername }),
    };
    const expected = state.expected;
    const answer = await this.#ports.probe(request);
    // What was asked of the generation before says nothing of this one.
    if (expected !== state.expected) return;
    state.record(answer, this.#ports.nowMs());
    if (state.verdict === 'served') this.#tellOf(probe);
  }

  #worst(): ProbeVerdict {
    const verdicts = this.#probes.map(({ state }) => state.verdict);
    return (['wrong', 'unreachable', 'unknown'] as const).find((each) => verdicts.includes(each)) ?? 'served';
  }

  #tell(): void {
    for (const probe of this.#probes) this.#tellOf(probe);
  }

  #tellOf(probe: Probe): void {
    const { log } = this.#ports;
    const { name, state } = probe;
    const { verdict, served, expected, propagationMs, error } = state;
    const about = { hook: this.#hook, probe: name, expected };
    // Every generation is told of; a failure, once.
    const key = verdict === 'served' ? `served ${expected}` : verdict;
    if (key === probe.told) return;
    probe.told = key;
    if (verdict === 'served') log.info('probe-served', { ...about, ms: propagationMs });
    else if (verdict === 'wrong') log.warn('probe-wrong', { ...about, served });
    else if (verdict === 'unreachable') log.warn('probe-unreachable', { ...about, error });
  }
}
