/**
 * A directory held by its descriptor. What is in it is reached through the descriptor, so that nobody who may rename
 * directories or put symlinks in their place can lead a walk, often root's, out of the tree between two of its steps.
 */
import { constants, existsSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';

export class OpenDirectory {
  /** What people know it by: for messages, never for system calls. */
  readonly shown: string;
  readonly #handle: FileHandle;
  readonly #reach: string;

  private constructor(handle: FileHandle, shown: string, plain: string) {
    this.#handle = handle;
    this.shown = shown;
    this.#reach = reachOf(handle, plain);
  }

  /** The root of a walk. `follow` where the user named it: it may be a symlink then. */
  static async open(directory: string, options: { readonly follow: boolean }): Promise<OpenDirectory> {
    return OpenDirectory.#open(directory, directory, options.follow);
  }

  static async #open(plain: string, shown: string, follow: boolean): Promise<OpenDirectory> {
    const flags = constants.O_RDONLY | constants.O_DIRECTORY | (follow ? 0 : constants.O_NOFOLLOW);
    const handle = await open(plain, flags);
    return new OpenDirectory(handle, shown, plain);
  }

  /** Throws ENOTDIR or ELOOP for what is no directory, a symlink to one included. */
  openChild(name: string): Promise<OpenDirectory> {
    return OpenDirectory.#open(this.at(name), path.join(this.shown, name), false);
  }

  /** A path for system calls on `name`, one component, good while this is open. Its last step follows symlinks. */
  at(name: string): string {
    return `${this.#reach}/${name}`;
  }

  /** A path for listing this very directory. */
  get self(): string {
    return `${this.#reach}/.`;
  }

  stat() {
    return this.#handle.stat();
  }

  chmod(mode: number): Promise<void> {
    return this.#handle.chmod(mode);
  }

  chown(uid: number, gid: number): Promise<void> {
    return this.#handle.chown(uid, gid);
  }

  /** So that its names survive a power cut. */
  sync(): Promise<void> {
    return this.#handle.sync();
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** Node has no openat(2). Linux's /proc does the same; elsewhere (macOS) plain paths have to do, races included. */
function reachOf(handle: FileHandle, plain: string): string {
  const reach = `/proc/self/fd/${handle.fd}`;
  return existsSync(reach) ? reach : plain;
}

/** True for what O_NOFOLLOW and O_DIRECTORY throw. */
export function isNotDirectory(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOTDIR' || code === 'ELOOP';
}
