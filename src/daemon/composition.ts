/**
 * The generations of a mount of several bundles: when one of them has a new tree, the next generation is composed of that
 * and of what the others have live.
 *
 * Invariants: one composition at a time, each of what the one before made live; an image of a part stays in the store as long
 * as its tree is live; one that did not go live is overwritten and gone, and the others are what they were.
 */
import type { FileRule } from '../checks/ownership.ts';
import { describeBug, MountError, type SecretsfsError } from '../errors.ts';
import type { ChangeList } from '../generation/changes.ts';
import { ROOT_INO } from '../generation/format.ts';
import { closeQuietly } from '../system/files.ts';
import type { ProcessUser } from '../system/process-users.ts';
import type { Candidate } from './candidate.ts';
import type { composeInto } from './composing.ts';
import { type Deferred, deferred } from './deferred.ts';
import type { Engine } from './engine.ts';
import { liveOf, type PartFacts } from './facts.ts';
import type { WrittenImage } from './image-files.ts';
import type { Log } from './log.ts';
import type { KeptImage } from './part-images.ts';
import { Turns } from './turns.ts';

/** Entries in memory and the image of them, both of everything. */
const COPIES = 2;

/** What is composed of: the tree of a bundle. */
export interface PartTree {
  readonly candidate: Candidate;
  readonly serial: number;
  /** For a supervisor that takes over; the image of it is added here. */
  readonly facts: PartFacts;
}

type KeptTree = PartTree & { readonly image: KeptImage };

/** A generation that is live. */
export interface Composed {
  readonly id: number;
  readonly written: WrittenImage;
  /** undefined for the first. */
  readonly changes: Pick<ChangeList, 'counts' | 'files'> | undefined;
}

export interface CompositionPorts {
  readonly parts: readonly {
    readonly directory: string;
    readonly filesMax: number;
    readonly bytesMax: number;
  }[];
  /** Directories of those that the first generation can be without. */
  readonly optional: ReadonlySet<string>;
  /** By whole paths. */
  readonly rules: readonly FileRule[];
  readonly preserve: boolean;
  readonly log: Log;
  engine(): Pick<Engine, 'candidate' | 'discard' | 'partImages' | 'storeBytes'>;
  user(): ProcessUser;
  memoryMax(): number | undefined;
  /** What the machine and every control group leave. */
  availableBytes(): Promise<number>;
  /** Makes it live; where it throws, the candidate is gone. */
  activate(
    candidate: Candidate,
    written: WrittenImage,
    facts: readonly PartFacts[],
  ): Promise<Composed['changes']>;
  readonly compose: typeof composeInto;
}

export class Composition {
  readonly #ports: CompositionPorts;
  readonly #abort = new AbortController();
  readonly #begun = deferred();
  readonly #arrivals = new Map<string, Deferred>();
  /** Of what is live; before that, of what arrived. */
  #trees = new Map<string, KeptTree>();
  #first: Composed | undefined;
  #live: Composed | undefined;
  #isFirst = true;
  /** What is composed was given to the engine, which mounts the first. */
  #isOffered = false;
  readonly #turns = new Turns();

  constructor(ports: CompositionPorts) {
    this.#ports = ports;
    for (const { directory } of ports.parts) this.#arrivals.set(directory, deferred());
  }

  get live(): Composed | undefined {
    return this.#live;
  }

  /** Room for the next tree of a part: what its unsealer fills. */
  candidate(directory: string): Candidate {
    return this.#ports.engine().partImages.candidate(this.#trees.get(directory)?.candidate.id);
  }

  /** Whether a part has a tree. */
  has(directory: string): boolean {
    return this.#trees.has(directory);
  }

  /** Resolves when a part has its first tree. */
  arrival(directory: string): Promise<void> {
    return this.#arrivals.get(directory)?.promise ?? Promise.resolve();
  }

  /**
   * Brings the tree of a part live; before begin() that is when all begin. Throws what composing and activating throw, and
   * the tree is gone then.
   */
  async add(directory: string, { candidate, serial, facts }: PartTree): Promise<Composed> {
    const { partImages } = this.#ports.engine();
    const { filesMax } = this.#ports.parts.find((part) => part.directory === directory) ?? { filesMax: 0 };
    const nextIno = this.#trees.get(directory)?.image.nextIno ?? ROOT_INO + 1;
    // Files and the root.
    const image = await partImages.keep(candidate, { nextIno, nodesMax: filesMax + 1 });
    const tree: KeptTree = { candidate, serial, image, facts };
    if (this.#isFirst) {
      this.#trees.set(directory, tree);
      this.#arrivals.get(directory)?.resolve();
      await this.#begun.promise;
      if (this.#first !== undefined && this.#trees.get(directory) === tree) return this.#first;
    }
    try {
      return await this.#turns.take(() => this.#compose(new Map([...this.#trees, [directory, tree]])));
    } catch (error) {
      await partImages.drop(candidate.id);
      throw error;
    }
  }

  /**
   * The first generation, of what has arrived; where that can't be, of what is required, and then of each of the others by
   * itself, as if it had come later.
   */
  async begin(): Promise<Composed> {
    this.#isFirst = false;
    try {
      this.#first = await this.#turns.take(() => this.#composeFirst());
      this.#begun.resolve();
      return this.#first;
    } catch (error) {
      this.#begun.reject(error as Error);
      throw error;
    }
  }

  /** Instead of begin(): this is live, of these. */
  resume(parts: readonly PartFacts[], live: Composed): void {
    this.#isFirst = false;
    this.#isOffered = true;
    this.#live = live;
    for (const facts of parts) {
      const { directory, image, serial } = facts;
      if (directory === null || image === null) continue;
      const { candidate } = liveOf(facts, live.id).generation;
      this.#trees.set(directory, { candidate, serial, facts, image });
    }
    this.#begun.resolve();
  }

  /** Nothing is composed any more; who waits for the first generation gets an error. */
  stop(): void {
    this.#abort.abort();
    this.#begun.reject(
      new MountError('mount-failed', 'cannot compose: the mount is stopping', {
        hint: 'secretsfs mount starts it again',
      }),
    );
  }

  async #composeFirst(): Promise<Composed> {
    const { optional } = this.#ports;
    try {
      return await this.#compose(this.#trees);
    } catch (error) {
      const required = new Map([...this.#trees].filter(([directory]) => !optional.has(directory)));
      // Nothing is mounted twice; a program that checks it runs before that.
      const isOver = this.#isOffered && (error as Partial<SecretsfsError>).code !== 'check-exec';
      if (isOver || this.#abort.signal.aborted || required.size === this.#trees.size) throw error;
      this.#trees = required;
      return await this.#compose(required);
    }
  }

  async #compose(trees: Map<string, KeptTree>): Promise<Composed> {
    const { parts, rules, preserve, log, activate, compose } = this.#ports;
    const { signal } = this.#abort;
    signal.throwIfAborted();
    const engine = this.#ports.engine();
    await this.#checkRoom(trees);
    const candidate = engine.candidate();
    const fds: number[] = [];
    let written: WrittenImage;
    try {
      const sources = parts.map((part) => {
        const tree = trees.get(part.directory);
        if (tree === undefined) return { ...part, imageFd: undefined };
        fds.push(engine.partImages.open(tree.candidate.id));
        return { ...part, imageFd: fds.at(-1) };
      });
      const serial = Math.max(1, ...[...trees.values()].map((tree) => tree.serial));
      const user = this.#ports.user();
      written = await compose({ parts: sources, rules, preserve, serial, candidate, user, log, signal });
    } catch (error) {
      await engine.discard(candidate);
      throw error;
    } finally {
      closeQuietly(...fds);
    }
    this.#isOffered = true;
    const facts = [...trees.values()].map((tree) => ({
      ...tree.facts,
      image: { id: tree.candidate.id, bytes: tree.image.bytes, nextIno: tree.image.nextIno },
    }));
    const changes = await activate(candidate, written, facts);
    const before = this.#trees;
    this.#trees = trees;
    this.#live = { id: candidate.id, written, changes };
    for (const [directory, { candidate: old }] of before) {
      if (trees.get(directory)?.candidate === old) continue;
      // It is live: a failure now would have what is new dropped, too.
      await engine.partImages
        .drop(old.id)
        .catch((error: unknown) => log.error('bug', { error: describeBug(error) }));
    }
    return this.#live;
  }

  /** Throws MountError memory-exceeded: at a limit the kernel ends processes, and not the one that is too large. */
  async #checkRoom(trees: ReadonlyMap<string, KeptTree>): Promise<void> {
    const { memoryMax, availableBytes } = this.#ports;
    let bytes = 0;
    for (const { image } of trees.values()) bytes += COPIES * image.bytes;
    const held = this.#ports.engine().storeBytes;
    const room = Math.min(await availableBytes(), (memoryMax() ?? Number.POSITIVE_INFINITY) - held);
    if (bytes <= room) return;
    throw new MountError(
      'memory-exceeded',
      `cannot compose the generation: that takes ${bytes} bytes, ${Math.max(0, room)} are left`,
      { hint: 'give the machine or the unit more memory, or raise --memory-max' },
    );
  }
}
