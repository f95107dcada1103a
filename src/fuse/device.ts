/** /dev/fuse, and what is wrong where it can't be opened. */
import { openSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { MountError, quote } from '../errors.ts';

/** Throws MountError fuse-missing or mount-denied where this process can't use /dev/fuse. */
export async function checkDevice(device = '/dev/fuse'): Promise<void> {
  try {
    await (await open(device, 'r+')).close();
  } catch (cause) {
    throw unusable(device, cause as NodeJS.ErrnoException);
  }
}

/** A connection that is nobody's yet. Throws like checkDevice(). */
export function openDevice(device = '/dev/fuse'): number {
  try {
    return openSync(device, 'r+');
  } catch (cause) {
    throw unusable(device, cause as NodeJS.ErrnoException);
  }
}

function unusable(device: string, cause: NodeJS.ErrnoException): MountError {
  const { code } = cause;
  if (code === 'EACCES' || code === 'EPERM') {
    return new MountError('mount-denied', `cannot open ${quote(device)}: permission denied`, {
      hint: 'run as root; or let users in: chmod 666 /dev/fuse, or for a container docker run --device /dev/fuse',
      cause,
    });
  }
  return new MountError('fuse-missing', `cannot open ${quote(device)}: ${code}`, {
    hint: 'load the kernel module (modprobe fuse), or give the container the device (docker run --device /dev/fuse)',
    cause,
  });
}
