/** The port to AWS as doctor asks it: facts of a bucket, of a key and of the credentials, and by the way what time it is there. */
import type { KeyFacts, Rotation } from '../keys/key-facts.ts';

export interface CredentialFacts {
  /** In words: "the environment". */
  readonly source: string;
  /** ms since 1970; undefined: they do not expire, or it is not known when. */
  readonly expiresMs: number | undefined;
  /** Whether a running mount gets new ones by itself. */
  readonly renewed: boolean;
  /** That of an instance: asked for over the network, as anybody on the machine can. */
  readonly fromInstance: boolean;
}

/** undefined: S3 says that there is no such setting. */
export interface BucketAnswers {
  readonly block: { readonly [setting: string]: boolean | undefined } | undefined;
  readonly policyIsPublic: boolean;
  readonly aclIsPublic: boolean;
  readonly logged: boolean;
  readonly versioning: string | undefined;
  readonly encryption: string | undefined;
}
export type BucketQuestion = keyof BucketAnswers;

/** May not ask; in words, what S3 answered. */
export class Denied extends Error {}

export interface ServerTime {
  /** "S3" or "KMS". */
  readonly service: string;
  /** By how many ms this clock is certainly ahead of the server's; negative: behind; 0: within what a Date header can tell. */
  readonly aheadMs: number;
}

export interface Cloud {
  /** Throws ConfigError. */
  region(): Promise<string | undefined>;
  /** Throws ConfigError. */
  credentials(): Promise<CredentialFacts>;
  /** Throws Denied, and SecretsfsError. */
  bucket<Q extends BucketQuestion>(question: Q, bucket: string): Promise<BucketAnswers[Q]>;
  /** Throws SecretsfsError. */
  key(arn: string): Promise<KeyFacts>;
  /** Throws SecretsfsError. */
  rotation(key: KeyFacts): Promise<Rotation>;
  /** Of all answers so far. */
  times(): readonly ServerTime[];
}
