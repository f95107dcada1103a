/**
 * Telling the kernel, and through it inotify, which names a new generation changes (docs/architecture.md, "An
 * activation"). The teller renames and unlinks, the notifier drops attributes; either may end over it.
 *
 * Invariants: the old inodes are pinned before the flip, and told after it; what was not told to its end is owed until it
 * is, also to a teller that was started since and pinned nothing. Telling twice does no harm.
 */
import { MountError } from '../errors.ts';
import { type ChangeList, encodeOperations } from '../generation/changes.ts';
import { type Helper, NoAnswer } from './helper.ts';
import type { Inodes } from './inodes.ts';
import type { Log } from './log.ts';
import { patiently } from './patience.ts';

const DISCARD_MS_MAX = 2_000;
/** Telling the kernel of one changed name takes about 0.2 ms. */
const TELL_MS_MAX = 5_000;
const TELL_MS_EACH = 5;
/** Bytes of paths in one line to the teller, which base64 and the rest of it make half as much again. */
const PATH_BYTES_AT_ONCE = 64 * 1024;
const OPERATIONS_AT_ONCE = 1_024;

export interface TellingPorts {
  readonly teller: Pick<Helper, 'ask' | 'start' | 'starts'>;
  readonly inodes: Pick<Inodes, 'dropAttributes'>;
  /** Of the staging directory, in hex. */
  readonly token: string;
  readonly log: Log;
  /** It was told all of the last changes. */
  onTold?(): void;
}

export class Telling {
  readonly #ports: TellingPorts;
  /** What the kernel was not told yet. */
  #owed: ChangeList | undefined;
  /** Which start of the teller holds the pins. */
  #pinnedBy = -1;

  constructor(ports: TellingPorts) {
    this.#ports = ports;
  }

  /** Holds on to the changed names as they are, so that the kernel sees each of them replaced. Throws MountError. */
  async pin(changes: ChangeList): Promise<void> {
    await patiently(() => this.#pin(changes));
  }

  /**
   * After the flip, and after settle() before it: the kernel is told of every changed name, and of what changed about
   * directories. What can't be told is in the log, and owed: until then some names show the old content, each of them
   * whole. Never throws but for bugs.
   */
  async tell(changes: ChangeList): Promise<void> {
    this.#owed = changes;
    await this.settle().catch((error: unknown) => {
      if (!(error instanceof MountError)) throw error;
      this.#ports.log.warn('names-not-replaced', { error: error.message });
    });
  }

  /** For the next settle(): the supervisor that was to tell them ended. */
  owe(changes: ChangeList): void {
    this.#owed = changes;
  }

  get owes(): boolean {
    return this.#owed !== undefined;
  }

  /** Tells what is owed, if anything is: the next changes would not name it again. Throws MountError. */
  async settle(): Promise<void> {
    await patiently(() => this.#tell());
  }

  /** Looks at the changed names once more, so that the kernel finds none of them to stand for an old inode. Throws MountError. */
  async look(changes: ChangeList): Promise<void> {
    await patiently(async () => {
      await this.#pin(changes);
      this.#pinnedBy = -1;
      await this.#ports.teller.ask({ do: 'discard' }, DISCARD_MS_MAX);
    });
  }

  async #pin({ operations }: ChangeList): Promise<void> {
    const { teller } = this.#ports;
    // It may end meanwhile: then the pins are nobody's.
    this.#pinnedBy = -1;
    await teller.ask({ do: 'discard' }, DISCARD_MS_MAX);
    const start = teller.starts;
    for (const slice of slicesOf(operations)) {
      await teller.ask({ do: 'pin', operations: encodeOperations(slice).toString('base64') }, TELL_MS_MAX);
    }
    if (teller.starts !== start) throw new NoAnswer('ended');
    this.#pinnedBy = start;
  }

  async #tell(): Promise<void> {
    const { teller, inodes, token, log } = this.#ports;
    const changes = this.#owed;
    if (changes === undefined) return;
    // One that was started since knows of nothing; and refuses, if it is started just now.
    teller.start();
    if (teller.starts !== this.#pinnedBy) await this.#pin(changes);
    this.#pinnedBy = -1;
    const { operations, directories } = changes;
    const told = await teller.ask(
      { do: 'apply', token, count: operations.length },
      TELL_MS_MAX + TELL_MS_EACH * operations.length,
    );
    const failed = told['failed'];
    if (Array.isArray(failed) && failed.length > 0) log.warn('names-not-replaced', { failed });
    await inodes.dropAttributes(directories);
    if (this.#owed !== changes) return;
    this.#owed = undefined;
    this.#ports.onTold?.();
  }
}

/** As many operations as fit into a line; one always does. */
export function* slicesOf(operations: ChangeList['operations']): Iterable<ChangeList['operations']> {
  let from = 0;
  let bytes = 0;
  for (const [at, { path }] of operations.entries()) {
    const more = Buffer.byteLength(path);
    if (at > from && (bytes + more > PATH_BYTES_AT_ONCE || at - from === OPERATIONS_AT_ONCE)) {
      yield operations.slice(from, at);
      from = at;
      bytes = 0;
    }
    bytes += more;
  }
  if (from < operations.length) yield operations.slice(from);
}
