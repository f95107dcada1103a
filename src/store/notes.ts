/**
 * What the supervisor writes into its store for the supervisor after it: small files of root's alone, each replaced as a whole.
 */
import fs from 'node:fs';

export class Notes {
  readonly #directoryFd: number;

  /** The store's directory. It stays the caller's. */
  constructor(directoryFd: number) {
    this.#directoryFd = directoryFd;
  }

  /** Whoever reads it finds this or what was there before. */
  write(name: string, text: string): void {
    const path = this.#path(name);
    fs.writeFileSync(`${path}.new`, text, { mode: 0o600 });
    fs.renameSync(`${path}.new`, path);
  }

  /** undefined: there is none, or it is none of root's alone, or longer than `bytesMax`. */
  read(name: string, bytesMax: number): string | undefined {
    let fd: number;
    try {
      fd = fs.openSync(this.#path(name), fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    try {
      const stat = fs.fstatSync(fd);
      if (!stat.isFile() || stat.uid !== 0 || (stat.mode & 0o077) !== 0 || stat.size > bytesMax)
        return undefined;
      return fs.readFileSync(fd, 'utf8');
    } finally {
      fs.closeSync(fd);
    }
  }

  #path(name: string): string {
    return `/proc/self/fd/${this.#directoryFd}/${name}`;
  }
}
