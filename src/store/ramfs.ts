/**
 * The store of the kernel driver: a ramfs that is in no mount table, reachable only through its directory descriptor
 * and what inherited it. Its pages are never swapped. Held by the supervisor, it outlives every crash of the others.
 *
 *   gen-ID        root:S 0440   a generation's image, complete
 *   candidate-ID  root 0600     an image that an unsealer writes, through its descriptor
 *   changes-ID    root 0600     what it changes, likewise
 *   control       root:S 0640   what the server goes by (shared.ts)      status  S 0600  how it is doing
 *   request       S 0600        its read buffer: what was taken and not answered (shared.ts)
 *   passes        S 0600        which threads are in the middle of opening files, and from which generation
 *   facts-ID, …   root 0600     what the supervisor after this one has to know (notes.ts)
 *
 * S is the server's user. Every content that goes is overwritten with zeros first: pages that the kernel frees keep
 * what was in them, unless it runs with init_on_free=1.
 */
import fs from 'node:fs';
import { closeQuietly } from '../system/files.ts';
import { isWrittenByNobody } from '../system/leases.ts';
import { createRamfs } from '../system/mounts.ts';
import { residentRanges } from '../system/shared.ts';
import { Notes } from './notes.ts';
import {
  CONTROL,
  type Control,
  decodeStatus,
  encodeControl,
  PASSES_BYTES,
  REQUEST_BYTES,
  SHARED_BYTES,
  type Status,
} from './shared.ts';

/** Length, opcode and unique number (struct fuse_in_header). */
const REQUEST_HEADER_BYTES = 16;

/** What is overwritten without giving the event loop its turn: about 0.2 ms. */
const WIPE_CHUNK = Buffer.alloc(1024 * 1024);

export interface RamfsStoreOptions {
  readonly serverUid: number;
  readonly serverGid: number;
}

export interface Candidate {
  /** For reading and writing. Both are the caller's to close. */
  readonly imageFd: number;
  readonly changesFd: number;
}

export class RamfsStore {
  /** Opened with O_PATH: what inherits it finds the files below /proc/self/fd/N. */
  readonly directoryFd: number;
  readonly notes: Notes;
  readonly #options: RamfsStoreOptions;
  readonly #controlFd: number;
  readonly #statusFd: number;
  #sequence: number;
  /** The descriptors' numbers may be another file's by then. */
  #closed = false;

  private constructor(directoryFd: number, options: RamfsStoreOptions) {
    this.directoryFd = directoryFd;
    this.notes = new Notes(directoryFd);
    this.#options = options;
    this.#controlFd = fs.openSync(this.#path('control'), 'r+');
    this.#statusFd = fs.openSync(this.#path('status'), 'r');
    const sequence = Buffer.alloc(4);
    fs.readSync(this.#controlFd, sequence, 0, 4, CONTROL.sequence * 4);
    this.#sequence = sequence.readUInt32LE();
  }

  /** Throws SystemCallError. */
  static create(options: RamfsStoreOptions): RamfsStore {
    const { serverUid, serverGid } = options;
    const directoryFd = createRamfs(0o750);
    try {
      const directory = `/proc/self/fd/${directoryFd}`;
      fs.chownSync(directory, 0, serverGid);
      makeFile(`${directory}/control`, SHARED_BYTES, 0, serverGid, 0o640);
      makeFile(`${directory}/status`, SHARED_BYTES, serverUid, serverGid, 0o600);
      makeFile(`${directory}/request`, REQUEST_BYTES, serverUid, serverGid, 0o600);
      makeFile(`${directory}/passes`, PASSES_BYTES, serverUid, serverGid, 0o600);
      return new RamfsStore(directoryFd, options);
    } catch (error) {
      fs.closeSync(directoryFd);
      throw error;
    }
  }

  /** As whyNoStore() found it to be one; the descriptor is this store's from now on. */
  static adopt(directoryFd: number, options: RamfsStoreOptions): RamfsStore {
    return new RamfsStore(directoryFd, options);
  }

  /** Of everything that is there: live, lingering and candidates. */
  get bytes(): number {
    let bytes = 0;
    for (const name of this.#contents()) {
      // st_blocks is what is in memory; a candidate's size is only what its writer claims.
      bytes += (fs.statSync(this.#path(name), { throwIfNoEntry: false })?.blocks ?? 0) * 512;
    }
    return bytes;
  }

  /** Numbers that something is called by: images, candidates, changes. */
  get ids(): ReadonlySet<number> {
    return new Set(this.#contents().map((name) => Number(name.slice(name.indexOf('-') + 1))));
  }

  /** Two empty files for an unsealer. Throws EEXIST where the id is taken. */
  createCandidate(id: number): Candidate {
    if (fs.existsSync(this.#path(`gen-${id}`))) throw new Error(`generation ${id} exists`);
    const imageFd = fs.openSync(this.#path(`candidate-${id}`), 'wx+', 0o600);
    try {
      return { imageFd, changesFd: fs.openSync(this.#path(`changes-${id}`), 'wx+', 0o600) };
    } catch (error) {
      fs.closeSync(imageFd);
      fs.unlinkSync(this.#path(`candidate-${id}`));
      throw error;
    }
  }

  /**
   * The candidate is complete: the server may read it as gen-ID. False where somebody can still write to it or to its changes,
   * also by a descriptor that a process passed on before it ended. The caller has closed its own.
   */
  publish(id: number): boolean {
    const from = this.#path(`candidate-${id}`);
    if (!isWrittenByNobody(from) || !isWrittenByNobody(this.#path(`changes-${id}`))) return false;
    fs.chownSync(from, 0, this.#options.serverGid);
    fs.chmodSync(from, 0o440);
    fs.renameSync(from, this.#path(`gen-${id}`));
    return true;
  }

  /** What the unsealer wrote, `bytesMax` at most: undefined where it is more, or gone. */
  readChanges(id: number, bytesMax: number): Buffer | undefined {
    if (!fs.existsSync(this.#path(`changes-${id}`))) return undefined;
    const fd = fs.openSync(this.#path(`changes-${id}`), 'r');
    try {
      const { size } = fs.fstatSync(fd);
      if (size > bytesMax) return undefined;
      const bytes = Buffer.alloc(size);
      // Whoever may still write to it may make it shorter or longer: then it is not a list.
      return bytes.subarray(0, fs.readSync(fd, bytes, 0, size, 0));
    } finally {
      fs.closeSync(fd);
    }
  }

  /** When nobody will ask for it any more: it names what changed. */
  async removeChanges(id: number): Promise<void> {
    await this.#wipe(`changes-${id}`);
  }

  /** Of an image: bytes in memory, and when it was superseded, if it was (markSuperseded()). */
  imageFacts(id: number): { readonly bytes: number; readonly sinceMs: number } {
    const { blocks, mtimeMs } = fs.statSync(this.#path(`gen-${id}`));
    return { bytes: blocks * 512, sinceMs: mtimeMs };
  }

  /** From now on it is not what is live. */
  markSuperseded(id: number): void {
    const now = new Date();
    fs.utimesSync(this.#path(`gen-${id}`), now, now);
  }

  /** The image, for an unsealer that builds the next one; the caller closes it. */
  openPrevious(id: number): number {
    return fs.openSync(this.#path(`gen-${id}`), 'r');
  }

  /** A candidate that comes to nothing. */
  async discard(id: number): Promise<void> {
    await this.#wipe(`candidate-${id}`);
    await this.#wipe(`changes-${id}`);
  }

  /** Zeros, then gone: also for who still has it open. Calling it again does nothing. */
  async wipe(id: number): Promise<void> {
    await this.#wipe(`gen-${id}`);
    await this.#wipe(`facts-${id}`);
    await this.discard(id);
  }

  /** At the end: no content is left, whoever still holds the directory. */
  async wipeAll(): Promise<void> {
    const failures: unknown[] = [];
    // One that fails is no reason to leave the others.
    for (const name of this.#contents()) await this.#wipe(name).catch((error) => void failures.push(error));
    if (failures.length > 0) throw failures[0];
  }

  /** The server sees all of it or nothing. Returns the sequence that its status will show when it goes by it. */
  writeControl(control: Control): number {
    // 0 is what a page has that was never written.
    this.#sequence = this.#sequence === 0xffffffff ? 1 : this.#sequence + 1;
    const words = encodeControl(control, this.#sequence);
    const bytes = Buffer.from(words.buffer);
    const write = (from: number, to: number) => {
      if (fs.writeSync(this.#controlFd, bytes, from * 4, (to - from) * 4, from * 4) !== (to - from) * 4) {
        throw new Error('short write to the control page');
      }
    };
    write(CONTROL.sequenceBegun, CONTROL.sequenceBegun + 1);
    write(CONTROL.magic, CONTROL.sequence);
    write(CONTROL.sequence + 1, words.length);
    write(CONTROL.sequence, CONTROL.sequence + 1);
    return this.#sequence;
  }

  /** Undefined before a server has written it. */
  readStatus(): Status | undefined {
    if (this.#closed) return undefined;
    const bytes = Buffer.alloc(SHARED_BYTES);
    fs.readSync(this.#statusFd, bytes, 0, bytes.length, 0);
    return decodeStatus(bytes);
  }

  /** Which request the server took last, as text; the same text is the same request. */
  recordedRequest(): string {
    const header = Buffer.alloc(REQUEST_HEADER_BYTES);
    const fd = fs.openSync(this.#path('request'), 'r');
    try {
      fs.readSync(fd, header, 0, header.length, 0);
    } finally {
      fs.closeSync(fd);
    }
    return header.toString('hex');
  }

  /** Wipes nothing: another may hold the directory. What can still be asked then is how much is there: nothing. */
  close(): void {
    this.#closed = true;
    closeQuietly(this.#controlFd, this.#statusFd, this.directoryFd);
  }

  #path(name: string): string {
    return `/proc/self/fd/${this.directoryFd}/${name}`;
  }

  #contents(): string[] {
    if (this.#closed) return [];
    return fs.readdirSync(this.#path('')).filter((name) => /^[a-z]+-\d+$/.test(name));
  }

  async #wipe(name: string): Promise<void> {
    let fd: number;
    try {
      fd = fs.openSync(this.#path(name), 'r+');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    try {
      const { size } = fs.fstatSync(fd);
      // Holes stay holes: filling them would take the memory that may just be short.
      for (const { start, end } of residentRanges(fd, size)) {
        for (let at = start; at < end; ) {
          at += fs.writeSync(fd, WIPE_CHUNK, 0, Math.min(WIPE_CHUNK.length, end - at), at);
          await new Promise((resolve) => setImmediate(resolve));
        }
      }
      fs.ftruncateSync(fd, 0);
      // Last: a wipe that was interrupted is found again.
      fs.unlinkSync(this.#path(name));
    } catch (error) {
      // Two at once: the other has unlinked it.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    } finally {
      fs.closeSync(fd);
    }
  }
}

/** Its pages are there from the beginning: a server that maps it must never meet a full memory. */
function makeFile(path: string, bytes: number, uid: number, gid: number, mode: number): void {
  fs.writeFileSync(path, Buffer.alloc(bytes), { flag: 'wx', mode: 0o600 });
  fs.chownSync(path, uid, gid);
  fs.chmodSync(path, mode);
}
