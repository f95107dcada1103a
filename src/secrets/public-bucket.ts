/**
 * Whether a bucket lets everybody in, by S3's own judgement of its policy and by its ACL, less what its public access block
 * takes back. Secrets are sealed wherever they are; but in a public bucket nothing is left if a key is ever misused, and
 * who may write there may remove.
 */
import type { S3Client } from '@aws-sdk/client-s3';
import type { AwsAccess } from '../aws/access.ts';
import { OutputError, quote } from '../errors.ts';

/** Everybody, and everybody with an AWS account. */
const GROUPS = new Set([
  'http://acs.amazonaws.com/groups/global/AllUsers',
  'http://acs.amazonaws.com/groups/global/AuthenticatedUsers',
]);

/** Throws OutputError `bucket-public`. Who may not ask, or asks a server that does not know, is not kept from writing. */
export async function refusePublicBucket(aws: AwsAccess, bucket: string): Promise<void> {
  const client = await aws.s3();
  const [policy, acl] = await Promise.all([isPolicyPublic(client, bucket), isAclPublic(client, bucket)]);
  if (!policy && !acl) return;
  const { RestrictPublicBuckets, IgnorePublicAcls } = await blockOf(client, bucket);
  const open = [
    ...(policy && RestrictPublicBuckets !== true ? ['policy'] : []),
    ...(acl && IgnorePublicAcls !== true ? ['ACL'] : []),
  ];
  if (open.length === 0) return;
  throw new OutputError(
    'bucket-public',
    `cannot write to the bucket ${quote(bucket)}: its ${open.join(' and ')} let${open.length === 1 ? 's' : ''} everybody in`,
    {
      hint: `aws s3api put-public-access-block --bucket ${bucket} --public-access-block-configuration BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true; or --allow-public`,
    },
  );
}

async function isPolicyPublic(client: S3Client, bucket: string): Promise<boolean> {
  const { GetBucketPolicyStatusCommand } = await import('../aws/sdk-s3.ts');
  const answer = await client
    .send(new GetBucketPolicyStatusCommand({ Bucket: bucket }))
    .catch(() => undefined);
  return answer?.PolicyStatus?.IsPublic === true;
}

async function isAclPublic(client: S3Client, bucket: string): Promise<boolean> {
  const { GetBucketAclCommand } = await import('../aws/sdk-s3.ts');
  const answer = await client.send(new GetBucketAclCommand({ Bucket: bucket })).catch(() => undefined);
  return (answer?.Grants ?? []).some(({ Grantee }) => GROUPS.has(Grantee?.URI ?? ''));
}

async function blockOf(client: S3Client, bucket: string) {
  const { GetPublicAccessBlockCommand } = await import('../aws/sdk-s3.ts');
  const answer = await client
    .send(new GetPublicAccessBlockCommand({ Bucket: bucket }))
    .catch(() => undefined);
  return answer?.PublicAccessBlockConfiguration ?? {};
}
