/** The errors a filesystem answers with. Only these carry an errno. */

/** Linux's numbers, the same on every architecture that Node runs on. */
const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EBADF: 9,
  EACCES: 13,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EROFS: 30,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ELOOP: 40,
  ENOTSUP: 95,
  ESTALE: 116,
} as const;

export type ErrnoCode = keyof typeof ERRNO;

export class VfsError extends Error {
  readonly code: ErrnoCode;

  constructor(code: ErrnoCode) {
    super(code);
    this.name = 'VfsError';
    this.code = code;
  }
}

/** The positive errno to answer with. Whatever is no VfsError is a bug of ours, and the caller sees EIO. */
export function errnoOf(error: unknown): number {
  return error instanceof VfsError ? ERRNO[error.code] : ERRNO.EIO;
}
