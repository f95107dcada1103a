/** Images of parts in files, composed as the composer does it, in this process. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { composeImages } from '../../src/daemon/compose-images.ts';
import type { ComposerTask } from '../../src/daemon/composer-task.ts';

export type PartSpec = Omit<ComposerTask['parts'][number], 'hasImage'> & {
  /** As an unsealer wrote it. */
  readonly image: Uint8Array | undefined;
};

/** The image of the composition. Throws what composing throws; then nothing that could be read as an image was written. */
export function composed(parts: readonly PartSpec[], previous?: Uint8Array): Buffer {
  const directory = mkdtempSync(path.join(tmpdir(), 'secretsfs-composed-'));
  const fds: number[] = [];
  const put = (name: string, bytes: Uint8Array) => {
    writeFileSync(path.join(directory, name), bytes);
    const fd = openSync(path.join(directory, name), 'r+');
    fds.push(fd);
    return fd;
  };
  const candidate = path.join(directory, 'candidate');
  try {
    const files = {
      candidateFd: put('candidate', Buffer.alloc(0)),
      changesFd: put('changes', Buffer.alloc(0)),
      previousFd: previous === undefined ? openNull(fds) : put('previous', previous),
      partFds: parts.flatMap(({ image }, i) => (image === undefined ? [] : put(`part-${i}`, image))),
    };
    const task: ComposerTask = {
      generationId: 7,
      serial: 1,
      parts: parts.map(({ image, ...part }) => ({ ...part, hasImage: image !== undefined })),
      rules: [],
      preserve: true,
    };
    try {
      composeImages(task, files);
    } catch (error) {
      const left = readFileSync(candidate);
      if (left.length > 0) throw new Error(`a refusal left ${left.length} bytes`, { cause: error });
      throw error;
    }
    return readFileSync(candidate);
  } finally {
    for (const fd of fds) closeSync(fd);
    rmSync(directory, { recursive: true });
  }
}

function openNull(fds: number[]): number {
  const fd = openSync('/dev/null', 'r');
  fds.push(fd);
  return fd;
}
