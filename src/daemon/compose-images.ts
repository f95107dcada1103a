/**
 * The images of several parts → the image of one generation. Each was written by a process that parsed a foreign bundle:
 * all of it is checked before anything of it is used, and what is wrong with one names the directory that it is for.
 */
import type { ArchiveEntry } from '../bundle/archive.ts';
import { ruledEntries } from '../checks/ownership.ts';
import { MountError, quote } from '../errors.ts';
import { planGeneration } from '../generation/build.ts';
import { type ComposedPart, composedEntries } from '../generation/compose.ts';
import { GenerationError } from '../generation/generation.ts';
import type { ComposerTask } from './composer-task.ts';
import {
  type ImageFiles,
  type OpenImage,
  openImage,
  openPrevious,
  type WrittenImage,
  writePlan,
} from './image-files.ts';

const ROOT = { uid: 0, gid: 0 };

export interface ComposedFiles extends ImageFiles {
  /** The image that is followed, or what is no file. */
  readonly previousFd: number;
  /** The images of the parts that have one, in their order. */
  readonly partFds: readonly number[];
}

/**
 * Writes the candidate, the header last. Throws MountError composer-failed for an image that is none or is over its limits,
 * unsealer-failed for a previous one of another version, memory-exceeded where it can't be written, and BundleError
 * archive-refused for paths that are too long below their directory.
 */
export function composeImages(task: ComposerTask, files: ComposedFiles): WrittenImage {
  const { generationId: id, serial, rules, preserve } = task;
  const previous = openPrevious(files.previousFd);
  const images: OpenImage[] = [];
  const entries: ArchiveEntry[] = [];
  try {
    const fds = files.partFds.values();
    const parts = task.parts.map((part): ComposedPart => {
      const { directory, hasImage } = part;
      if (!hasImage) return { directory, tree: undefined };
      const { value: fd } = fds.next();
      if (fd === undefined) throw new Error('a part without its image');
      const image = openPart(fd, part);
      images.push(image);
      return { directory, tree: image.generation };
    });
    for (const entry of composedEntries(parts)) entries.push(entry);
    const nowSeconds = Math.floor(Date.now() / 1000);
    const options = { id, serial, nowSeconds, previous: previous?.generation, preserve: true };
    // Whatever attributes a part's unsealer gave: by the rules, which are what the server goes by.
    const ruled = ruledEntries(entries, rules, { preserve, owner: ROOT });
    return writePlan(planGeneration(ruled, options), files);
  } finally {
    for (const entry of entries) if (entry.kind === 'file') entry.data.fill(0);
    for (const { metadata } of images) metadata.fill(0);
    previous?.metadata.fill(0);
  }
}

/** Whatever it says of itself, it is no larger than its part may be. */
function openPart(fd: number, { directory, filesMax, bytesMax }: ComposerTask['parts'][number]): OpenImage {
  let image: OpenImage;
  try {
    image = openImage(fd);
  } catch (error) {
    if (!(error instanceof GenerationError)) throw error;
    throw refused(directory, `its image can not be read: ${error.message.replace(/^.*: /, '')}`);
  }
  const { nodeCount, contentBytes } = image.generation;
  if (nodeCount <= filesMax + 1 && contentBytes <= bytesMax) return image;
  image.metadata.fill(0);
  throw refused(
    directory,
    `its image is of ${nodeCount - 1} files and ${contentBytes} bytes, want at most ${filesMax} and ${bytesMax}`,
  );
}

function refused(directory: string, why: string): MountError {
  return new MountError('composer-failed', `cannot compose ${quote(directory)}: ${why}`, {
    hint: 'its unsealer did not do its work: look at its lines in the log; after an upgrade, secretsfs remount',
  });
}
