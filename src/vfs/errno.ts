/**
 * The errors a filesystem answers with. Results are 0 or above, or a negative errno; where an interface is of objects
 * and strings (paths.ts), a VfsError instead.
 */

/** Linux's numbers, the same on every architecture that Node runs on. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  ENXIO: 6,
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

/** The result itself, unless it is a negative errno: then its VfsError is thrown. */
export function orThrow(result: number): number {
  if (result >= 0) return result;
  const code = (Object.keys(ERRNO) as ErrnoCode[]).find((name) => ERRNO[name] === -result);
  throw new VfsError(code ?? 'EIO');
}
