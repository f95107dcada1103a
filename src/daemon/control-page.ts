/**
 * What the server is told through the control page (store/shared.ts): what it serves, and how. Whatever changes here is
 * written at once, all of it.
 *
 * Invariants: it names only generations that are whole; what is live changes by one write; a generation that is taken off
 * it never comes back, whatever is written next.
 */
import { randomBytes } from 'node:crypto';
import { canResend, type Params } from '../fuse/kernel/init.ts';
import { PROTOCOL_MAJOR } from '../fuse/kernel/protocol.ts';
import type { Served } from '../metrics/snapshot.ts';
import type { RamfsStore } from '../store/ramfs.ts';
import { type Control, type Status, TOKEN_BYTES } from '../store/shared.ts';
import type { EngineStatus } from './engine-ports.ts';
import { servedOf } from './served.ts';

/** How it is served: read with each write. A server goes by what it finds when it starts. */
export type ServingPolicy = Pick<
  Control,
  'cachePolicy' | 'fastOpen' | 'resend' | 'consistencyWindowMs' | 'preserve'
>;
/** What does. Generations by number, 0 for none. */
type Shown = Pick<Control, 'live' | 'candidate' | 'handOver' | 'closed' | 'lingering'>;

/** Where it is written and read. */
type Page = Pick<RamfsStore, 'writeControl' | 'readStatus'>;

export class ControlPage {
  readonly #store: Page;
  readonly #policy: ServingPolicy;
  readonly #token: Uint8Array;
  #shown: Shown;
  #parameters: Params | undefined;
  #sequence: number;

  /** Writes the first one: nothing is live, or what was by the `last` one of the supervisor before this. */
  constructor(store: Page, policy: ServingPolicy, last?: Control) {
    this.#store = store;
    this.#policy = policy;
    this.#token = last?.token ?? randomBytes(TOKEN_BYTES);
    this.#shown = {
      live: last?.live ?? 0,
      lingering: last?.lingering ?? [],
      ...{ candidate: 0, handOver: false, closed: false },
    };
    if (last !== undefined) {
      const { fuseMinor: minor, flags, flags2, maxReadBytes } = last;
      this.#parameters = { minor, flags, flags2, maxReadBytes };
    }
    this.#sequence = this.#write();
  }

  get candidate(): number {
    return this.#shown.candidate;
  }

  /** Names the staging directory: whoever knows it may rename into the mount. */
  get token(): string {
    return Buffer.from(this.#token).toString('hex');
  }

  /** What INIT agreed on. Seen with the next change. */
  set parameters(parameters: Params) {
    this.#parameters = parameters;
  }

  /** The same for people; undefined before it is mounted. */
  get negotiated(): EngineStatus['negotiated'] {
    const params = this.#parameters;
    return params && { protocol: `${PROTOCOL_MAJOR}.${params.minor}`, resend: canResend(params) };
  }

  show(change: Partial<Shown>): void {
    this.#shown = { ...this.#shown, ...change };
    this.#sequence = this.#write();
  }

  /** From the server's next request on it is `id`; `previous` can still be read by who has it open. */
  flip(id: number, previous: number): void {
    this.show({ live: id, candidate: 0, lingering: [...this.#shown.lingering, previous] });
  }

  withdraw(id: number): void {
    this.show({ lingering: this.#shown.lingering.filter((each) => each !== id) });
  }

  /** What a server says of itself; undefined before there was one. */
  get status(): Status | undefined {
    return this.#store.readStatus();
  }

  /** The same as metrics have it. */
  get served(): Served | undefined {
    const { status } = this;
    return status && servedOf(status);
  }

  /** The server goes by it as it is now. */
  get isSeen(): boolean {
    return this.status?.sequence === this.#sequence;
  }

  #write(): number {
    const parameters = this.#parameters;
    return this.#store.writeControl({
      ...this.#shown,
      fuseMinor: parameters?.minor ?? 0,
      flags: parameters?.flags ?? 0,
      flags2: parameters?.flags2 ?? 0,
      maxReadBytes: parameters?.maxReadBytes ?? 0,
      ...this.#policy,
      token: this.#token,
    });
  }
}
