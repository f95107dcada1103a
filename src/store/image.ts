/** A generation as the server reads it: metadata in memory, contents in the image's file, each read when asked for. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { HEADER_BYTES } from '../generation/format.ts';
import { Generation, GenerationError } from '../generation/generation.ts';
import type { Refusal } from './shared.ts';

export interface Image {
  readonly generation: Generation;
  /** Contents can't be read any more after this. */
  close(): void;
}

/** An image that can't be served. Nothing of it is kept. */
export class ImageError extends Error {
  readonly reason: Refusal;

  constructor(reason: Refusal, cause: unknown) {
    super(`cannot serve the image: ${reason}`, { cause });
    this.name = 'ImageError';
    this.reason = reason;
  }
}

/** Throws ImageError. */
export function openImage(path: string, id: number): Image {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    const header = readExactly(fd, HEADER_BYTES);
    const metadata = readExactly(fd, Generation.metadataBytes(header));
    const contents = contentsOf(fd);
    const generation = Generation.open(metadata, contents);
    if (generation.id !== id) throw new GenerationError('invalid', 'it has another id than its name');
    const image = fd;
    return { generation, close: () => closeSync(image) };
  } catch (cause) {
    if (fd !== undefined) closeSync(fd);
    throw new ImageError(cause instanceof GenerationError ? cause.reason : 'unreadable', cause);
  }
}

/** From the beginning; less where the file is shorter. */
function readExactly(fd: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  return buffer.subarray(0, readAt(fd, buffer, 0, bytes, 0));
}

/** read(2), not a mapping: touching a page of a file that was cut to nothing would end the process. */
function contentsOf(fd: number) {
  return {
    bytes: fstatSync(fd).size,
    read: (position: number, length: number, target: Uint8Array, at: number) =>
      readAt(fd, target, at, length, position),
  };
}

function readAt(fd: number, target: Uint8Array, at: number, length: number, position: number): number {
  let done = 0;
  while (done < length) {
    const got = readSync(fd, target, at + done, length - done, position + done);
    if (got === 0) break;
    done += got;
  }
  return done;
}
