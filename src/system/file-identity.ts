/** What tells one content of a file from another without reading it. */
import type { BigIntStats } from 'node:fs';

/** Equal for equal bytes: a rewrite changes the times, which are in nanoseconds, and a replacement the inode. */
export function fileIdentity(stat: BigIntStats): string {
  return `file:${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`;
}
