/**
 * Which generations the server serves: what the supervisor's control page says, as far as it can be read. A generation
 * that can't be is reported and never served, and what was live goes on being live.
 */
import type { Generation } from '../generation/generation.ts';
import { whyNotSuccessor } from '../generation/succession.ts';
import { type Image, ImageError } from '../store/image.ts';
import { CONTROL, type Control, decodeControl, type Refusal, refusalWord, STATUS } from '../store/shared.ts';
import { Vfs } from '../vfs/vfs.ts';

/** For listings that are being read: at 20 generations a second a listing has 3 s, and one of them in any case. */
const LISTED_MAX = 64;
/** About 100 bytes each. */
const LISTED_NODES_MAX = 150_000;

export interface ServerGenerationsOptions {
  /** The mapped control page. */
  readonly control: Uint32Array;
  /** Throws ImageError. */
  readonly open: (id: number) => Image;
  /** Why owners and modes of a generation are none that may be served, where they are not the bundle's to say. */
  readonly whyNotAllowed: (generation: Generation) => string | undefined;
  /** Says what could not be read. */
  readonly onRefused: (id: number, why: Refusal) => void;
}

export class ServerGenerations {
  readonly vfs: Vfs;
  readonly #options: ServerGenerationsOptions;
  readonly #control: Uint32Array;
  readonly #images = new Map<number, Image>();
  /** Where it is reported; not before report() is called: the page is another server's until then. */
  #status: Uint32Array | undefined;
  #sequence: number;
  /** Retired, oldest first: their metadata alone. */
  readonly #listed: Generation[] = [];
  #refused = 0;
  #why: Refusal | undefined;

  /** See Control. */
  closed = false;

  /** Loads what is live. Throws ImageError where that can't be served. */
  constructor(options: ServerGenerationsOptions, first: Control & { readonly sequence: number }) {
    this.#options = options;
    this.#control = options.control;
    const image = options.open(first.live);
    if (!first.preserve && options.whyNotAllowed(image.generation) !== undefined) {
      image.close();
      throw new ImageError('invalid', undefined);
    }
    this.#images.set(first.live, image);
    this.vfs = new Vfs(image.generation);
    this.#sequence = first.sequence;
    this.#apply(first);
  }

  changed(): boolean {
    return this.#control[CONTROL.sequence] !== this.#sequence;
  }

  /** Never throws for what is in the store. A page that is being written is looked at again with the next request. */
  sync(): void {
    const control = decodeControl(this.#control);
    if (control === undefined) return;
    this.#sequence = control.sequence;
    this.#apply(control);
  }

  /** From now on `status` is this server's. */
  report(status: Uint32Array): void {
    this.#status = status;
    this.#report(this.#candidate);
  }

  #candidate = 0;

  #apply(control: Control): void {
    const live = this.#load(control.live)?.generation ?? this.vfs.live;
    const lingering: Generation[] = [];
    for (const id of control.lingering) {
      const image = this.#load(id);
      if (image !== undefined) lingering.push(image.generation);
    }
    this.#candidate = control.candidate;
    if (control.candidate !== 0) this.#loadCandidate(control.candidate, control.preserve);
    this.closed = control.closed;
    this.vfs.setGenerations(live, lingering);
    const kept = new Set([live.id, control.candidate, ...control.lingering]);
    for (const [id, image] of this.#images) {
      if (kept.has(id)) continue;
      this.#images.delete(id);
      image.close();
      // One that was never live was never listed.
      if (id <= live.id) this.#keepListed(image.generation);
    }
    this.#report(control.candidate);
  }

  listed(id: number): Generation | undefined {
    return this.#listed.find((generation) => generation.id === id);
  }

  #keepListed(generation: Generation): void {
    this.#listed.push(generation);
    let nodes = 0;
    for (const { nodeCount } of this.#listed) nodes += nodeCount;
    while (this.#listed.length > LISTED_MAX || (nodes > LISTED_NODES_MAX && this.#listed.length > 1)) {
      nodes -= this.#listed.shift()?.nodeCount ?? 0;
    }
  }

  /** One that must not follow what is live is not kept. */
  #loadCandidate(id: number, preserve: boolean): void {
    const image = this.#load(id);
    if (image === undefined || image.generation === this.vfs.live) return;
    const why =
      whyNotSuccessor(this.vfs.live, image.generation) ??
      (preserve ? undefined : this.#options.whyNotAllowed(image.generation));
    if (why === undefined) return;
    this.#images.delete(id);
    image.close();
    this.#refuse(id, 'invalid');
  }

  #load(id: number): Image | undefined {
    const known = this.#images.get(id);
    if (known !== undefined || id === this.#refused) return known;
    try {
      const image = this.#options.open(id);
      this.#images.set(id, image);
      return image;
    } catch (error) {
      this.#refuse(id, error instanceof ImageError ? error.reason : 'unreadable');
      return undefined;
    }
  }

  #refuse(id: number, why: Refusal): void {
    this.#refused = id;
    this.#why = why;
    this.#options.onRefused(id, why);
  }

  #report(candidate: number): void {
    const status = this.#status;
    if (status === undefined) return;
    status[STATUS.candidateLoaded] = this.#images.has(candidate) ? candidate : 0;
    status[STATUS.candidateRefused] = this.#refused;
    status[STATUS.refusedWhy] = this.#why === undefined ? 0 : refusalWord(this.#why);
    // Last: whoever waits for it reads the others then.
    Atomics.store(status, STATUS.sequence, this.#sequence);
  }
}
