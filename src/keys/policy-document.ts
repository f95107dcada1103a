/**
 * What a policy document of IAM, KMS or S3 is made of: the JSON that AWS takes, and nothing that it does not. Statements are
 * written in one order, so that two documents that say the same are the same text.
 */

/** Operator → condition key → values. */
export type Conditions = Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>;

export interface Statement {
  /** Letters and digits, one of each in a document. */
  readonly Sid: string;
  readonly Effect: 'Allow';
  /** In the policy of a key or a bucket; an identity's policy has none. */
  readonly Principal?: { readonly AWS: string | readonly string[] };
  readonly Action: string | readonly string[];
  readonly Resource: string | readonly string[];
  readonly Condition?: Conditions;
}

export interface PolicyDocument {
  readonly Version: '2012-10-17';
  readonly Statement: readonly Statement[];
}

export function policyDocument(statements: readonly Statement[]): PolicyDocument {
  return { Version: '2012-10-17', Statement: statements };
}

/** One value alone, as AWS itself writes it back. */
export function oneOrMany(values: readonly string[]): string | readonly string[] {
  const [first] = values;
  return values.length === 1 && first !== undefined ? first : values;
}

/** The pair of the context that says which bundle a data key is for; KMS hands it to policies under this name. */
const NAME_CONDITION = 'kms:EncryptionContext:secretsfs-name';

export function ofBundle(name: string): Conditions {
  return { StringEquals: { [NAME_CONDITION]: name } };
}

/** Text in a Resource that means itself: *, ? and ${…} would match others. */
export function literally(text: string): string {
  return text.replace(/[*?$]/g, (special) => `\${${special}}`);
}

/** Where a region's names belong. https://docs.aws.amazon.com/general/latest/gr/rande.html and botocore's partitions.json */
const PARTITIONS: readonly (readonly [prefix: string, partition: string])[] = [
  ['cn-', 'aws-cn'],
  ['us-gov-', 'aws-us-gov'],
  ['us-isob-', 'aws-iso-b'],
  ['us-isof-', 'aws-iso-f'],
  ['eu-isoe-', 'aws-iso-e'],
  ['us-iso-', 'aws-iso'],
  ['eusc-', 'aws-eusc'],
];

export function partitionOf(region: string): string {
  return PARTITIONS.find(([prefix]) => region.startsWith(prefix))?.[1] ?? 'aws';
}
