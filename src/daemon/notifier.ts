/**
 * Tells the kernel to drop cached pages and attributes, and asks it which inodes it still knows. A process of its own,
 * because the kernel may wait for an answer of the server meanwhile, and nothing ends a process that waits so.
 *
 * Descriptors: 3 /dev/fuse, 4 the channel, 5 the pipe from the server, with --cache none only. Through the pipe come
 * nodeids, u64 little-endian, whose pages go. Through the channel:
 *
 *   {"drop":[ino,…]} or {"drop":{"from":ino,"to":ino}}   {"ok":true,"dropped":N,"unknown":N}
 *   {"attributes":[ino,…]}   {"ok":true}   they are asked for again
 *   {"held":[ino,…]}         {"ok":true,"held":[ino,…]}   what is left of the list from the first one that is known
 *
 * `to` is not dropped any more; with an inode goes its alias (fuse/kernel/staging.ts). Inodes that the kernel does not know have no pages: counted, and no failure.
 */
import { readSync } from 'node:fs';
import { constants } from 'node:os';
import { attributesNotification, pagesNotification } from '../fuse/kernel/notifications.ts';
import { ALIAS_BASE } from '../fuse/kernel/staging.ts';
import { writerTo } from '../system/device.ts';
import { poll, pollEither } from '../system/wait.ts';
import { ChannelError, type Message, SyncChannel } from './channel.ts';
import { enterChild, exitWith } from './child.ts';
import { FDS_VARIABLE } from './roles.ts';

const FUSE_FD = 3;
const CHANNEL_FD = 4;
const PIPE_FD = 5;
const NODEID_BYTES = 8;
const FOR_EVER = -1;
const { ENOENT } = constants.errno;

/** The process. Ends with its channel. */
export function runNotifier(): never {
  const hasPipe = process.env[FDS_VARIABLE] === '3';
  enterChild({
    role: 'notifier',
    fds: [/^\/dev\/fuse$/, /^socket:/, ...(hasPipe ? [/^pipe:/] : [])],
  });
  const notifier = new Notifier(writerTo(FUSE_FD));
  const channel = new SyncChannel(CHANNEL_FD);
  const bytes = Buffer.alloc(64 * 1024);
  let rest = 0;
  let pipeIsOpen = hasPipe;
  try {
    for (;;) {
      if (pipeIsOpen) pollEither(CHANNEL_FD, PIPE_FD, FOR_EVER);
      if (pipeIsOpen && poll(PIPE_FD, 0)) {
        const got = readSync(PIPE_FD, bytes, rest, bytes.length - rest, null);
        // The server ended; its successor has the pipe too, so this is the end of all of them.
        if (got === 0) pipeIsOpen = false;
        rest = notifier.dropAll(bytes, rest + got);
      }
      if (pipeIsOpen && !poll(CHANNEL_FD, 0)) continue;
      const message = channel.receive();
      if (message === undefined || !channel.send(notifier.answer(message))) process.exit(0);
    }
  } catch (error) {
    if (error instanceof ChannelError) exitWith('notifier', error.message, 1);
    throw error;
  }
}

export class Notifier {
  readonly #write: (buffer: Uint8Array, bytes: number) => number;

  /** Answers bytes written, or a negative errno. */
  constructor(write: (buffer: Uint8Array, bytes: number) => number) {
    this.#write = write;
  }

  answer(message: Message): Message {
    if (message['held'] !== undefined) return this.#held(message['held']);
    if (message['attributes'] !== undefined) return this.#attributes(message['attributes']);
    const inos = wanted(message['drop']);
    if (inos === undefined) return { ok: false, errno: 'EINVAL' };
    let dropped = 0;
    let unknown = 0;
    for (const ino of inos) {
      const result = this.#drop(ino);
      this.#drop(ALIAS_BASE + ino);
      if (result >= 0) dropped += 1;
      else if (result === -ENOENT) unknown += 1;
      // Unmounted: there is nothing left to drop.
      else break;
    }
    return { ok: true, dropped, unknown };
  }

  /** The whole nodeids in the first `length` bytes; what is left moves to the front, and its length is returned. */
  dropAll(bytes: Buffer, length: number): number {
    const whole = length - (length % NODEID_BYTES);
    for (let at = 0; at < whole; at += NODEID_BYTES) {
      this.#drop(bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32);
    }
    bytes.copyWithin(0, whole, length);
    return length - whole;
  }

  #held(inos: unknown): Message {
    if (!isList(inos)) return { ok: false, errno: 'EINVAL' };
    const first = inos.findIndex((ino) => this.#forgetAttributes(ino) >= 0);
    return { ok: true, held: first < 0 ? [] : inos.slice(first) };
  }

  #attributes(inos: unknown): Message {
    if (!isList(inos)) return { ok: false, errno: 'EINVAL' };
    for (const ino of inos) this.#forgetAttributes(ino);
    return { ok: true };
  }

  #forgetAttributes(ino: number): number {
    const notification = attributesNotification(ino);
    return this.#write(notification, notification.length);
  }

  #drop(ino: number): number {
    const notification = pagesNotification(ino);
    return this.#write(notification, notification.length);
  }
}

/** Undefined for what names no inodes. */
function wanted(drop: unknown): Iterable<number> | undefined {
  if (Array.isArray(drop)) return isList(drop) ? drop : undefined;
  if (typeof drop !== 'object' || drop === null || !('from' in drop) || !('to' in drop)) return undefined;
  const { from, to } = drop;
  return isIno(from) && isIno(to) ? range(from, to) : undefined;
}

function* range(from: number, to: number): Iterable<number> {
  for (let ino = from; ino < to; ino += 1) yield ino;
}

function isList(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isIno);
}

function isIno(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0;
}
