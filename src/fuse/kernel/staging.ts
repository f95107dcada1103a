/**
 * How a change of generation is shown to the kernel and to inotify: by rename(2), unlink(2) and rmdir(2) through the
 * mount. Nothing is changed by them but the kernel's caches, and every one is accepted or refused by looking at the live
 * generation alone: it does not matter how often one comes, or to which server.
 *
 * In the root directory, for uid 0 and in no listing, stands the staging directory, under a name that only the
 * supervisor knows. In it every inode of the live generation has a second one, its alias, under its number as a name.
 * Renaming an alias onto the name where its inode stands replaces what the kernel had cached there. The kernel is told
 * to trust neither, so the next look at the name finds the inode itself.
 *
 * The kernel asks for a rename's target anew (seen on 6.18). Between the look at an alias and its rename the thread that
 * does both is told of the inode that stood there before: it is what is replaced, and its watchers hear of its end.
 *
 * Never by pid: the one in a request is a thread's, and 0 across pid namespaces.
 */
import type { Vfs } from '../../vfs/vfs.ts';
import { ROOT_NODEID } from './protocol.ts';

/** Inode numbers of files are below. */
export const ALIAS_BASE = 2 ** 52;
export const STAGING_NODEID = ALIAS_BASE + ROOT_NODEID;
export const STAGING_MODE = 0o040700;

const TOKEN_BYTES = 16;
const NAME_BYTES = 2 * TOKEN_BYTES;
const DIGITS_MAX = String(ALIAS_BASE).length;
const DIGIT_0 = 0x30;

/** What a nodeid stands for: an alias stands for the inode it is the alias of. */
export function inoOf(nodeid: number): number {
  return nodeid > ALIAS_BASE ? nodeid - ALIAS_BASE : nodeid;
}

export class Staging {
  readonly #name = new Uint8Array(NAME_BYTES);
  #armed = false;

  /** 16 bytes, of which the name is the hexadecimal form. All zeros: there is no staging directory. */
  set token(token: Uint8Array) {
    this.#armed = token.length === TOKEN_BYTES && token.some((byte) => byte !== 0);
    this.#name.set(Buffer.from(Buffer.from(token).toString('hex'), 'latin1').subarray(0, NAME_BYTES));
  }

  /** Is this the staging directory's name? It takes the same time whatever part of it is right. */
  isName(bytes: Uint8Array, start: number, end: number): boolean {
    if (end - start !== NAME_BYTES || !this.#armed) return false;
    let difference = 0;
    for (let i = 0; i < NAME_BYTES; i++)
      difference |= (bytes[start + i] as number) ^ (this.#name[i] as number);
    return difference === 0;
  }
}

/** The number that a name in the staging directory is, or -1. */
export function parseAlias(bytes: Uint8Array, start: number, end: number): number {
  if (end - start < 1 || end - start > DIGITS_MAX || bytes[start] === DIGIT_0) return -1;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = (bytes[i] as number) - DIGIT_0;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value > ROOT_NODEID && value < ALIAS_BASE ? value : -1;
}

/** May `ino` be shown under that name, because it is what stands there? */
export function standsAt(
  vfs: Vfs,
  ino: number,
  parent: number,
  name: Uint8Array,
  start: number,
  end: number,
): boolean {
  const node = vfs.lookup(parent, name, start, end);
  return node >= 0 && vfs.live.ino(node) === ino;
}
