/**
 * Where bundles come from and how changes are noticed, as settings. Here and not in source/: the supervisor reads
 * settings, and must not be able to load a source.
 */
import * as z from 'zod';
import { OLD_FORMATS } from '../bundle/old-format-names.ts';
import { duration, flag, list, text } from './config-values.ts';

/** A source costs a request at a look where those before it fail. */
const SOURCES_MAX = 8;
const SPREAD_MS_MAX = 15 * 60_000;

const accountId = z.union([z.number(), text]).transform((value, context) => {
  // YAML takes twelve digits for a number; a leading zero is lost then.
  const digits = typeof value === 'number' ? String(value).padStart(12, '0') : value;
  if (/^\d{12}$/.test(digits)) return digits;
  context.addIssue({ code: 'custom', message: 'must be the twelve digits of an AWS account' });
  return z.NEVER;
});

const sourceSchema = z.strictObject({
  /** A path, or s3://bucket/key. */
  bundle: text,
  region: text.optional(),
  profile: text.optional(),
  roleArn: text.optional(),
  expectedBucketOwner: accountId.optional(),
});
export type SourceSettings = z.infer<typeof sourceSchema>;

/** Which keys and context a bundle may have, and as whom it is asked for: flat settings. */
export const accessSettings = {
  key: list,
  acceptKey: list,
  context: list,
  profile: text,
  region: text,
  roleArn: text,
  externalId: text,
  forcePathStyle: flag,
} as const;

/** How it is noticed that there is another one: flat settings. */
export const noticingSettings = {
  poll: duration.refine((ms) => ms >= 1000 && ms <= 24 * 3_600_000, 'must be from 1s to 24h'),
  spread: duration.refine((ms) => ms >= 0 && ms <= SPREAD_MS_MAX, 'must be from 0s to 15m'),
  queue: text.regex(/^https?:\/\/[^/\s]+\/\S+$/, 'must be the URL of an SQS queue'),
  topic: text.regex(
    /^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}$/,
    'must be the ARN of an SNS topic',
  ),
  expectedBucketOwner: accountId,
  unsealLimit: z.union([z.number(), text]).transform((value, context) => {
    const perMinute = Number(value);
    if (Number.isInteger(perMinute) && perMinute >= 1 && perMinute <= 6000) return perMinute;
    context.addIssue({ code: 'custom', message: 'must be a number a minute, from 1 to 6000' });
    return z.NEVER;
  }),
} as const;

/** `formats`: what is taken beside bundles and secrets of ours, each less bound than these (docs/old-formats.md). */
export const formats = list.pipe(
  z
    .array(z.enum(OLD_FORMATS, `must be of ${OLD_FORMATS.join(', ')}`))
    .min(1, 'must name a format')
    .refine((named) => new Set(named).size === named.length, 'names a format twice'),
);

/** The section `source:` of a config. */
export const sourceSection = z
  .array(sourceSchema)
  .min(1, 'must name a bundle')
  .max(SOURCES_MAX, `must have at most ${SOURCES_MAX} entries`);
