/** Replacing a file as a whole: who reads it finds what was or what is, also after a crash of the machine. */
import { constants } from 'node:fs';
import { type FileHandle, open, rename, unlink } from 'node:fs/promises';
import path from 'node:path';

/** Of mode 0600, and on the disk when this returns. Where `write` throws, it throws that, and the file is what it was. */
export async function replaceFile(file: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  const temporary = `${file}.${process.pid}`;
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  // Of a process that had this pid and was killed here.
  await unlink(temporary).catch(() => undefined);
  const handle = await open(temporary, flags, 0o600);
  try {
    await write(handle);
    await handle.sync();
    await rename(temporary, file);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  } finally {
    await handle.close();
  }
  const directory = await open(path.dirname(file), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
