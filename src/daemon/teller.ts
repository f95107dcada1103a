/**
 * Shows a new generation to the kernel and to inotify, by renaming and unlinking through the mount; there while that is to be
 * done. Where the prober (processes/prober.sh) can't run, it asks the mount whether it answers, too. Whoever waits on a mount
 * can't be ended before it answers or is aborted; so this one holds neither the device nor anything else that matters.
 *
 * Descriptors: 3 a writable view of the mount, which becomes its root directory, 4 the channel. Messages, each answered:
 *
 *   {"do":"statfs"}                         {"ok":true} or {"ok":false,"errno":"…"}: the server answers, or not
 *   {"do":"pin","operations":"<base64>"}    {"ok":true,"pinned":N}: in slices, in order (generation/changes.ts)
 *   {"do":"apply","token":"<32 hex>","count":N} {"ok":true,"applied":N,"failed":[{"errno":"…","count":N}]}, pins let go
 *   {"do":"discard"}                        {"ok":true}: forgets operations and pins
 *
 * Where the mount had ended before it came, it enters nothing and answers each with that errno.
 *
 * Pins: descriptors of the old inodes, opened before the new generation is live. While one is held, the kernel knows the old
 * inode, and a rename onto its name ends it: who watches it gets IN_ATTRIB and IN_DELETE_SELF, as on any filesystem.
 *
 * It starts as root with four capabilities. CAP_SYS_CHROOT goes when it was used: on this thread, the only one of Node's
 * that makes calls for us.
 */
import { closeSync, constants, openSync, renameSync, rmdirSync, statfsSync, unlinkSync } from 'node:fs';
import { decodeOperations, type Operation } from '../generation/changes.ts';
import { closeQuietly, O_PATH } from '../system/files.ts';
import { chroot, dropCapabilities, setNofile } from '../system/privileges.ts';
import { ChannelError, type Message, SyncChannel } from './channel.ts';
import { enterChild, exitWith } from './child.ts';
import { TELLER_KEEPS } from './teller-capabilities.ts';

const MOUNT_FD = 3;
const CHANNEL_FD = 4;

/** Watchers of single files are few; directories are told of every name all the same. */
export const PINS_MAX = 4096;
/** What a server answers that was told to close, and what the kernel says without one. */
const MOUNT_ENDED = ['ESTALE', 'ENOTCONN', 'ECONNABORTED'];
/** Node's own, ours, and some to spare. */
const OTHER_FDS = 64;

/** The process. Ends with its channel. */
export function runTeller(): never {
  enterChild({ role: 'teller', fds: [/^\//, /^socket:/] });
  const channel = new SyncChannel(CHANNEL_FD);
  const pinsMax = Math.min(PINS_MAX, setNofile(PINS_MAX + OTHER_FDS) - OTHER_FDS);
  // May wait for the server: the kernel checks that we may enter.
  const ended = enterMount();
  closeSync(MOUNT_FD);
  dropCapabilities(TELLER_KEEPS);
  const teller = new Teller(pinsMax);
  try {
    for (let message = channel.receive(); message !== undefined; message = channel.receive()) {
      if (!channel.send(ended === undefined ? teller.answer(message) : { ok: false, errno: ended })) break;
    }
  } catch (error) {
    if (error instanceof ChannelError) exitWith('teller', error.message, 1);
    throw error;
  }
  process.exit(0);
}

/** The errno of a mount that has ended: outside of it nothing may be done, and whoever asks is to know. */
function enterMount(): string | undefined {
  try {
    chroot(MOUNT_FD);
    return undefined;
  } catch (error) {
    const errno = errnoOf(error);
    if (MOUNT_ENDED.includes(errno)) return errno;
    throw error;
  }
}

export class Teller {
  readonly #pinsMax: number;
  readonly #root: string;
  #operations: Operation[] = [];
  readonly #pins: number[] = [];

  /** `root`: where the mount is, for tests; for the process it is its root directory. */
  constructor(pinsMax: number, root = '') {
    this.#pinsMax = pinsMax;
    this.#root = root;
  }

  answer(message: Message): Message {
    switch (message['do']) {
      case 'statfs':
        return this.#statfs();
      case 'pin':
        return this.#pin(message['operations']);
      case 'apply':
        return this.#apply(message['token'], message['count']);
      case 'discard':
        this.#forget();
        return { ok: true };
      default:
        return { ok: false, errno: 'EINVAL' };
    }
  }

  #statfs(): Message {
    try {
      statfsSync(`${this.#root}/`);
      return { ok: true };
    } catch (error) {
      return { ok: false, errno: errnoOf(error) };
    }
  }

  #pin(encoded: unknown): Message {
    let operations: Operation[];
    try {
      if (typeof encoded !== 'string') throw new Error('no operations');
      operations = decodeOperations(Buffer.from(encoded, 'base64'));
    } catch {
      this.#forget();
      return { ok: false, errno: 'EINVAL' };
    }
    this.#operations.push(...operations);
    let pinned = 0;
    for (const { path } of operations) {
      if (this.#pins.length >= this.#pinsMax) break;
      try {
        this.#pins.push(openSync(`${this.#root}/${path}`, O_PATH | constants.O_NOFOLLOW));
        pinned += 1;
      } catch {
        // Not there before: it is new. Whatever else is wrong, nobody watches what can't be reached.
      }
    }
    return { ok: true, pinned };
  }

  #apply(token: unknown, count: unknown): Message {
    if (typeof token !== 'string' || !/^[0-9a-f]{32}$/.test(token)) return { ok: false, errno: 'EINVAL' };
    // Asked of another one, that is no more.
    if (count !== this.#operations.length) return { ok: false, errno: 'ESTALE' };
    const failed = new Map<string, number>();
    let applied = 0;
    for (const operation of this.#operations) {
      try {
        this.#do(operation, token);
        applied += 1;
      } catch (error) {
        const errno = errnoOf(error);
        failed.set(errno, (failed.get(errno) ?? 0) + 1);
      }
    }
    this.#forget();
    return { ok: true, applied, failed: [...failed].map(([errno, count]) => ({ errno, count })) };
  }

  #do(operation: Operation, token: string): void {
    const path = `${this.#root}/${operation.path}`;
    if (operation.kind === 'rename') renameSync(`${this.#root}/${token}/${operation.ino}`, path);
    else if (operation.kind === 'unlink') unlinkSync(path);
    else rmdirSync(path);
  }

  #forget(): void {
    closeQuietly(...this.#pins.splice(0));
    this.#operations = [];
  }
}

function errnoOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'EIO';
}
