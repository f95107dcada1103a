/**
 * Stands at every open of a mount: lets pass whom the rules of `access:` let pass, and with `audit` says who opened what. Each
 * process is said once a minute for each file, whatever it opens how often, and a refusal likewise; in another unit it is another.
 * What could not be said counts as not said. Refusals, which anybody can cause as often as they like, have a budget of their own (refusals.ts).
 *
 * Invariants: it decides by what the kernel says of the caller in the request, and by /proc while the caller waits for the
 * answer: its number can be nobody else's meanwhile. It never throws, and refuses where it can't tell. Bounded memory.
 */
import type { Generation } from '../generation/generation.ts';
import type { Rate } from './budget.ts';
import { RefusalBudget } from './refusals.ts';
import { type Opener, OpenRules, type OpensSettings, pathOf } from './rules.ts';
import { unitOf } from './unit.ts';

/** Said again after that. */
const AGAIN_MS = 60_000;
/** Processes and files that are remembered. */
const SAID_MAX = 16_384;
/** Less than half of the lines that a server may say (child-log.ts). */
const REFUSALS: Rate = { atOnce: 50, perSecond: 2 };
const REFUSALS_WITH_AUDIT: Rate = { atOnce: 2_000, perSecond: 200 };
const LIST = /^Groups:\s*(.*)$/m;

/** What can be seen of a thread that waits for an answer. */
export interface CallerSight {
  /** False for one that is not to be seen; 0 is such a one. The two below are of what was found last. */
  find(thread: number): boolean;
  readonly group: number;
  readonly startedMs: number;
  /** /proc/THREAD/NAME, as text; '' where it can't be read. */
  read(thread: number, name: 'status' | 'cgroup'): string;
}

export interface OpenEvent {
  readonly path: string;
  /** The process's; 0 for one in another pid namespace. */
  readonly opener: number;
  readonly uid: number;
  readonly gid: number;
  readonly unit: string | undefined;
  readonly generation: number;
  /** Refusals that were not said since the last that was; 0 for what was let pass. */
  readonly suppressed: number;
}

export interface GuardPorts {
  readonly sight: CallerSight;
  /** May wrap at 2³². */
  readonly nowMs: () => number;
  /** Whether it was. */
  say(what: 'file-opened' | 'open-refused', event: OpenEvent): boolean;
}

/** Whoever asks. */
export interface Caller {
  readonly thread: number;
  readonly uid: number;
  readonly gid: number;
}

/** Whether a caller may have a file of a generation. */
export type OpenGuard = (generation: Generation, node: number, caller: Caller) => boolean;

export function openGuard({ rules, audit }: OpensSettings, ports: GuardPorts): OpenGuard {
  const openRules = new OpenRules(rules);
  const said = new Said(ports, new RefusalBudget(audit ? REFUSALS_WITH_AUDIT : REFUSALS, ports.nowMs()));
  return (generation, node, caller) => {
    const opener = new SeenOpener(caller, ports.sight);
    const mayOpen = openRules.mayOpen(generation, node, opener);
    if (!mayOpen || audit) said.opened(mayOpen, generation, node, opener);
    return mayOpen;
  };
}

/** Looks at most once. */
class SeenOpener implements Opener {
  readonly thread: number;
  readonly uid: number;
  readonly gid: number;
  readonly #sight: CallerSight;
  #groups: readonly number[] | undefined;
  #unit: { readonly name: string | undefined } | undefined;

  constructor({ thread, uid, gid }: Caller, sight: CallerSight) {
    this.thread = thread;
    this.uid = uid;
    this.gid = gid;
    this.#sight = sight;
  }

  groups(): readonly number[] {
    this.#groups ??= (LIST.exec(this.#read('status'))?.[1] ?? '').split(/\s+/).filter(Boolean).map(Number);
    return this.#groups;
  }

  unit(): string | undefined {
    this.#unit ??= { name: unitOf(this.#read('cgroup')) };
    return this.#unit.name;
  }

  #read(name: 'status' | 'cgroup'): string {
    return this.thread === 0 ? '' : this.#sight.read(this.thread, name);
  }
}

class Said {
  readonly #ports: GuardPorts;
  readonly #refusals: RefusalBudget;
  /** When, by who and what; the oldest first. */
  readonly #lastMs = new Map<string, number>();
  #suppressed = 0;

  constructor(ports: GuardPorts, refusals: RefusalBudget) {
    this.#ports = ports;
    this.#refusals = refusals;
  }

  opened(mayOpen: boolean, generation: Generation, node: number, opener: SeenOpener): void {
    const { sight, nowMs, say } = this.#ports;
    const { thread, uid, gid } = opener;
    const isSeen = thread !== 0 && sight.find(thread);
    const who = isSeen ? `${sight.group}.${sight.startedMs}` : `${thread}`;
    const process = isSeen ? sight.group : thread;
    const unit = opener.unit();
    const key = `${mayOpen ? 'o' : 'r'}.${who}.${uid}.${gid}.${generation.ino(node)}.${unit ?? ''}`;
    const now = nowMs();
    if (this.#wasSaid(key, now)) return;
    if (!mayOpen && !this.#refusals.take(uid, now)) {
      this.#suppressed += 1;
      return;
    }
    const path = pathOf(generation, node);
    const suppressed = mayOpen ? 0 : this.#suppressed;
    const event = { path, opener: process, uid, gid, unit, generation: generation.id, suppressed };
    if (!say(mayOpen ? 'file-opened' : 'open-refused', event)) return;
    if (!mayOpen) this.#suppressed = 0;
    this.#remember(key, now);
  }

  #wasSaid(key: string, now: number): boolean {
    const last = this.#lastMs.get(key);
    return last !== undefined && (now - last) >>> 0 < AGAIN_MS;
  }

  #remember(key: string, now: number): void {
    this.#lastMs.delete(key);
    this.#lastMs.set(key, now);
    for (const [oldest] of this.#lastMs) {
      if (this.#lastMs.size <= SAID_MAX) break;
      this.#lastMs.delete(oldest);
    }
  }
}
