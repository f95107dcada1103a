/** The buckets of a mount: closed to the world, and with what undoes and tells of mistakes. */

import { isDirectory, isS3Url } from '../daemon/location.ts';
import { quote } from '../errors.ts';
import { parseS3Url } from '../source/s3-url.ts';
import { type BucketAnswers, type BucketQuestion, type Cloud, Denied } from './cloud.ts';
import { type Check, ok, problem, unknown, type Verdict, warning } from './finding.ts';
import type { Subject } from './subject.ts';

const BLOCKS = ['BlockPublicAcls', 'IgnorePublicAcls', 'BlockPublicPolicy', 'RestrictPublicBuckets'] as const;

interface Question<Q extends BucketQuestion> {
  readonly id: string;
  readonly what: string;
  readonly question: Q;
  /** As `aws s3api` calls it, and IAM. */
  readonly look: string;
  readonly grant: string;
  /** `block`: what else keeps the public out, where it is known. */
  judge(answer: BucketAnswers[Q], bucket: string, block: BucketAnswers['block']): Verdict;
}

export const closeBucket = (bucket: string) =>
  `aws s3api put-public-access-block --bucket ${bucket} --public-access-block-configuration ${BLOCKS.map((name) => `${name}=true`).join(',')}`;

function check<Q extends BucketQuestion>({ id, what, question, look, grant, judge }: Question<Q>): Check {
  return {
    id,
    area: 'bucket',
    what,
    async run(subject) {
      return Promise.all(
        bucketsOf(subject).map(async ({ bucket, cloud }) => {
          try {
            const block = cloud.bucket('block', bucket).catch(() => undefined);
            return judge(await cloud.bucket(question, bucket), bucket, await block);
          } catch (error) {
            if (!(error instanceof Denied)) throw error;
            return unknown(
              `${quote(bucket)}: S3 answered ${error.message}`,
              `aws s3api ${look} --bucket ${bucket}, as who may; or grant ${grant}`,
            );
          }
        }),
      );
    },
  };
}

/** Of all S3 sources, each bucket once. */
export function bucketsOf(subject: Subject): { readonly bucket: string; readonly cloud: Cloud }[] {
  const found = new Map<string, Cloud>();
  for (const { bundle, aws } of (subject.plan?.parts ?? []).flatMap(({ sources }) => sources)) {
    if (!isS3Url(bundle)) continue;
    const { bucket } = parseS3Url(isDirectory(bundle) ? `${bundle}x` : bundle);
    if (!found.has(bucket)) found.set(bucket, subject.cloud(aws));
  }
  return [...found].map(([bucket, cloud]) => ({ bucket, cloud }));
}

export const BUCKET_CHECKS: readonly Check[] = [
  check({
    id: 'bucket-block',
    what: 'public access block of the bucket',
    question: 'block',
    look: 'get-public-access-block',
    grant: 's3:GetBucketPublicAccessBlock',
    judge(block, bucket) {
      const missing = BLOCKS.filter((name) => block?.[name] !== true);
      if (missing.length === 0) return ok(`${quote(bucket)}: all four are on`);
      return warning(
        `${quote(bucket)}: ${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} off: one policy could open it to everybody`,
        closeBucket(bucket),
      );
    },
  }),
  check({
    id: 'bucket-policy',
    what: 'policy of the bucket',
    question: 'policyIsPublic',
    look: 'get-bucket-policy-status',
    grant: 's3:GetBucketPolicyStatus',
    judge: (isPublic, bucket, block) =>
      isPublic && block?.['RestrictPublicBuckets'] !== true
        ? problem(`${quote(bucket)}: it lets everybody in`, closeBucket(bucket))
        : ok(`${quote(bucket)}: not public`),
  }),
  check({
    id: 'bucket-acl',
    what: 'ACL of the bucket',
    question: 'aclIsPublic',
    look: 'get-bucket-acl',
    grant: 's3:GetBucketAcl',
    judge: (isPublic, bucket, block) =>
      isPublic && block?.['IgnorePublicAcls'] !== true
        ? problem(
            `${quote(bucket)}: it lets everybody in`,
            `aws s3api put-bucket-acl --bucket ${bucket} --acl private`,
          )
        : ok(`${quote(bucket)}: not public`),
  }),
  check({
    id: 'bucket-logging',
    what: 'access log of the bucket',
    question: 'logged',
    look: 'get-bucket-logging',
    grant: 's3:GetBucketLogging',
    judge: (logged, bucket) =>
      logged
        ? ok(`${quote(bucket)}: requests are logged`)
        : warning(
            `${quote(bucket)}: nobody notes who fetched what`,
            `aws s3api put-bucket-logging --bucket ${bucket} --bucket-logging-status '{"LoggingEnabled":{"TargetBucket":"LOGS","TargetPrefix":"${bucket}/"}}' (or CloudTrail data events)`,
          ),
  }),
  check({
    id: 'bucket-versioning',
    what: 'versions of the bucket',
    question: 'versioning',
    look: 'get-bucket-versioning',
    grant: 's3:GetBucketVersioning',
    judge: (state, bucket) =>
      state === 'Enabled'
        ? ok(`${quote(bucket)}: older ones are kept`)
        : warning(
            `${quote(bucket)}: ${state === undefined ? 'never kept' : 'no longer kept'}: what is overwritten or removed is gone`,
            `aws s3api put-bucket-versioning --bucket ${bucket} --versioning-configuration Status=Enabled`,
          ),
  }),
  check({
    id: 'bucket-encryption',
    what: "S3's own encryption, the second layer",
    question: 'encryption',
    look: 'get-bucket-encryption',
    grant: 's3:GetEncryptionConfiguration',
    judge: (algorithm, bucket) =>
      algorithm !== undefined
        ? ok(`${quote(bucket)}: ${algorithm}`)
        : warning(
            `${quote(bucket)}: none by default`,
            `aws s3api put-bucket-encryption --bucket ${bucket} --server-side-encryption-configuration '{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"aws:kms"}}]}'`,
          ),
  }),
];
