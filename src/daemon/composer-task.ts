/** What a composer is told, and what it says: one line each. Apart, so that it loads nothing of the supervisor's. */
import type { FileRule } from '../checks/ownership.ts';
import type { ErrorCode } from '../errors.ts';
import type { WrittenImage } from './image-files.ts';

/**
 * Of the task: another one with each change of its fields, or of what they mean. A composer is of the program on disk, the
 * supervisor of the one that it was started from.
 */
export const COMPOSER_TASK_VERSION = 1;

/** The first descriptor of a part's image. */
export const PARTS_FD = 7;
/** How many descriptors there are from PARTS_FD on, in the environment: it is known before a word is read. */
export const PARTS_VARIABLE = 'SECRETSFS_PARTS';

export interface ComposerTask {
  /** Of the generation that is to be made. */
  readonly generationId: number;
  readonly serial: number;
  /** In their order; those that have an image have the descriptors from PARTS_FD on. */
  readonly parts: readonly {
    readonly directory: string;
    readonly hasImage: boolean;
    /** What its image may have: that of a subverted unsealer must not take the room of the others. */
    readonly filesMax: number;
    readonly bytesMax: number;
  }[];
  /** Those of all parts, by whole paths. */
  readonly rules: readonly FileRule[];
  readonly preserve: boolean;
}

export type ComposerResult =
  | ({ readonly outcome: 'composed' } & WrittenImage)
  | {
      readonly outcome: 'failed';
      readonly code: ErrorCode;
      readonly message: string;
      readonly hint?: string | undefined;
    };
