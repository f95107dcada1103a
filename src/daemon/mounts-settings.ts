/** The section `mounts:` of a config: several bundles in one mount, by the directories that they are in. */
import * as z from 'zod';
import { whyNotGlob } from '../checks/glob.ts';
import { checksSchema, filesSchema } from '../checks/settings.ts';
import { MOUNT_BYTES_MAX, MOUNT_FILES_MAX, PARTS_MAX } from '../limits.ts';
import { amount, flag, text, wholeNumber } from './config-values.ts';
import { accessSettings, formats, noticingSettings, sourceSection } from './source-settings.ts';

/** A name of one directory, which is in messages and in the name of a file, too. */
const DIRECTORY = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** What one of them may say. What it leaves out is what the config says for all of them, if it does. */
const partSchema = z
  .strictObject({
    /** A path or s3://bucket/key; or several, as in the section `source:`. */
    source: z.union([text.transform((bundle) => [{ bundle }]), sourceSection]),
    name: text,
    ...accessSettings,
    ...noticingSettings,
    formats,
    minSerial: wholeNumber,
    maxBytes: amount(MOUNT_BYTES_MAX, 'a size in bytes (or K, M, G)'),
    maxFiles: amount(MOUNT_FILES_MAX, 'a number'),
    /** Paths inside the part. */
    checks: checksSchema,
    files: filesSchema,
    required: flag,
  })
  .partial()
  .required({ source: true })
  .superRefine(({ checks }, context) => {
    if (checks?.exec === undefined) return;
    const message = 'belongs beside mounts: programs see the whole mount';
    context.addIssue({ code: 'custom', path: ['checks', 'exec'], message });
  });
/** What stands below a directory. */
export const PART_KEYS: readonly string[] = Object.keys(partSchema.shape);
export type PartSettings = z.infer<typeof partSchema>;

/** What each has from the settings beside it, where it does not say it itself. */
export const INHERITED = [
  'key',
  'acceptKey',
  'context',
  'profile',
  'region',
  'roleArn',
  'externalId',
  'forcePathStyle',
  'expectedBucketOwner',
  'poll',
  'spread',
  'unsealLimit',
  'maxBytes',
  'maxFiles',
] as const satisfies readonly (keyof PartSettings)[];

export const mountsSection = z.record(z.string(), partSchema).superRefine((parts, context) => {
  const directories = Object.keys(parts);
  if (directories.length < 1 || directories.length > PARTS_MAX)
    context.addIssue({ code: 'custom', message: `must have from 1 to ${PARTS_MAX} bundles` });
  for (const directory of directories) {
    if (!DIRECTORY.test(directory)) {
      const message =
        'must be one name: at most 64 letters, digits, ".", "_" and "-", the first a letter or a digit';
      context.addIssue({ code: 'custom', path: [directory], message });
    }
    parts[directory]?.files?.forEach(({ match }, i) => {
      const why = whyNotGlob(`${directory}/${match}`);
      if (why !== undefined)
        context.addIssue({
          code: 'custom',
          path: [directory, 'files', i, 'match'],
          message: `${why} below ${directory}`,
        });
    });
  }
});
