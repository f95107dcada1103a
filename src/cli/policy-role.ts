/** `policy instance` and `policy author`: the least that a role needs, as JSON that the aws command takes. Asks nobody. */

import { validateName } from '../bundle/name.ts';
import { flagName, type SettingName, type Settings } from '../daemon/config.ts';
import { checkLocation, isS3Url } from '../daemon/location.ts';
import { quote, UsageError } from '../errors.ts';
import { type KeyArn, parseKeySpec } from '../keyring/spec.ts';
import { type PolicyDocument, policyDocument } from '../keys/policy-document.ts';
import { type Principal, parsePrincipal } from '../keys/principals.ts';
import { queueArn } from '../keys/queue-arn.ts';
import { bucketPolicy, identityPolicy, keyStatements, type Role, type Task } from '../keys/role-policy.ts';
import type { StoreSubject } from '../keys/store-policy.ts';
import { parseStoreLocation } from '../secrets/location.ts';
import { parseS3Url } from '../source/s3-url.ts';
import { type Command, type Context, optionalTextArg } from './command.ts';
import { nameFromLocation } from './names.ts';

export const policyInstance = policyOf('instance', ['queue', 'topic']);
export const policyAuthor = policyOf('author', []);

const DOCUMENTS = ['identity', 'key', 'bucket'] as const;

function policyOf(role: Role, noticing: readonly SettingName[]): Command {
  return {
    usage: `policy ${role}`,
    settings: ['bundle', 'store', 'name', 'key', 'expectedBucketOwner', ...noticing],
    build: (yargs) =>
      yargs
        .option('bundle', { type: 'string', requiresArg: true, describe: 's3://bucket/key, or a path' })
        .option('versions', {
          type: 'boolean',
          default: false,
          describe: 'with --store: for history, restore and --version, too',
        })
        .option('purge-versions', {
          type: 'boolean',
          default: false,
          describe: 'with --store, of an author: to remove older versions for good, too',
        })
        .option('bucket-key', {
          type: 'string',
          requiresArg: true,
          describe: 'ARN of the KMS key that the bucket itself encrypts with (SSE-KMS)',
        })
        .option('principal', {
          type: 'string',
          requiresArg: true,
          describe: 'ARN of the role, for the policies of a key or a bucket of another account',
        })
        .option('document', {
          choices: DOCUMENTS,
          default: 'identity',
          describe: "which policy: the role's own, or what that of the key or the bucket has to say",
        }),
    async run(args, context) {
      const arn = optionalTextArg(args, 'principal');
      const principal = arn === undefined ? undefined : parsePrincipal(arn, '--principal');
      const settled = taskOf(role, args, context.settings);
      const task: Task = { ...settled, account: principal?.account };
      const documents = documentsOf(task, principal);
      if (context.json) {
        const { identity, keys = null, bucket = null } = documents;
        const about = task.store === undefined ? { name: task.name } : { store: task.name };
        return context.ui.printJson({ role, ...about, identity, keys, bucket });
      }
      const asked = String(args['document']) as (typeof DOCUMENTS)[number];
      const document = asked === 'key' ? onlyKey(documents.keys) : documents[asked];
      if (document === undefined) throw notNeeded(asked, principal, context);
      context.ui.printJson(document);
      if (asked === 'identity') warnOfOthers(task, principal, context);
    },
  };
}

interface Documents {
  readonly identity: PolicyDocument;
  /** For each key, what is to stand among its policy's statements. */
  readonly keys: readonly { readonly key: string; readonly policy: PolicyDocument }[] | undefined;
  readonly bucket: PolicyDocument | undefined;
}

function documentsOf(task: Task, principal: Principal | undefined): Documents {
  const identity = identityPolicy(task);
  if (principal === undefined) return { identity, keys: undefined, bucket: undefined };
  const keys = [...task.keys, ...(task.sseKey === undefined ? [] : [task.sseKey])].map((key) => ({
    key: key.text,
    policy: policyDocument(keyStatements(task, key, principal)),
  }));
  return { identity, keys, bucket: isInS3(task) ? bucketPolicy(task, principal) : undefined };
}

function isInS3({ bundle, store }: Task): boolean {
  return (bundle ?? store?.s3) !== undefined;
}

function onlyKey(keys: Documents['keys']): PolicyDocument | undefined {
  if (keys === undefined || keys.length === 1) return keys?.[0]?.policy;
  throw new UsageError(`cannot print one policy for ${keys.length} keys`, {
    hint: 'ask with one --key at a time, or take all from --json',
  });
}

type Args = Readonly<Record<string, unknown>>;

function taskOf(role: Role, args: Args, settings: Settings): Task {
  const { key: given = [], queue, topic } = settings;
  const subject = subjectOf(args, settings);
  if (given.length === 0) {
    throw new UsageError('no key given', {
      hint: '--key with the ARN of each KMS key that wraps it',
    });
  }
  const keys = given.map((key) => keyArn(key));
  const partition = keys[0]?.partition;
  const bucketKey = optionalTextArg(args, 'bucketKey');
  const sseKey = bucketKey === undefined ? undefined : keyArn(bucketKey);
  const other = [...keys, ...(sseKey === undefined ? [] : [sseKey])].find(
    (key) => key.partition !== partition,
  );
  if (other !== undefined) {
    throw new UsageError(`cannot use ${quote(other.text)} beside a key of the partition ${partition}`, {
      hint: 'a role is of one partition: make a policy for each',
    });
  }
  return {
    ...{ role, keys, ...subject, sseKey, topic },
    queue: queue === undefined ? undefined : queueArn(queue, partition ?? 'aws'),
  };
}

/** What it is about: S3_PATH may be a bundle or a store, and stands for a bundle unless --store is given. */
function subjectOf(args: Args, settings: Settings): Pick<Task, 'name' | 'bundle' | 'store'> {
  const { bundle, store } = settings;
  const isStore = args['store'] !== undefined || (bundle === undefined && store !== undefined);
  if (isStore && store !== undefined) {
    const beside = ['bundle', 'name', 'queue', 'topic'].find((option) => args[option] !== undefined);
    if (beside === undefined) return { bundle: undefined, ...storeSubject(store, args) };
    throw new UsageError(`cannot use --${beside} with --store`, {
      hint: 'a policy is for one bundle, or for the single secrets of a store',
    });
  }
  const alone = ['versions', 'purgeVersions'].find((option) => args[option] === true);
  if (alone !== undefined) {
    throw new UsageError(`cannot use --${flagName(alone as SettingName)} with a bundle`, {
      hint: 'it is for the single secrets of a store: --store',
    });
  }
  if (bundle === undefined) {
    throw new UsageError('no bundle given', {
      hint: '--bundle s3://BUCKET/KEY, or a path; --store s3://BUCKET/PREFIX for single secrets',
    });
  }
  checkLocation(bundle);
  return {
    name: settings.name === undefined ? nameFromLocation(bundle) : validateName(settings.name),
    bundle: isS3Url(bundle) ? parseS3Url(bundle) : undefined,
  };
}

function storeSubject(text: string, args: Args): { readonly name: string; readonly store: StoreSubject } {
  const parsed = parseStoreLocation(text);
  const { location } = parsed;
  const s3 = parsed.kind === 's3' ? { bucket: parsed.bucket, prefix: parsed.prefix } : undefined;
  const [versions, purge] = [args['versions'] === true, args['purgeVersions'] === true];
  return { name: location, store: { location, s3, versions, purge } };
}

/** A policy names keys by their ARN alone: with an alias it would match nothing. */
function keyArn(text: string): KeyArn {
  const spec = parseKeySpec(text);
  if (spec.kind === 'kms' && spec.arn?.kind === 'key') return { ...spec.arn, kind: 'key' };
  if (spec.kind === 'kms') {
    throw new UsageError(`cannot make a policy for ${quote(text)}: it is not a key's ARN`, {
      hint: `secretsfs keys show ${text} shows the ARN`,
    });
  }
  throw new UsageError(`cannot make a policy for ${quote(text)}: no policy of AWS rules a key file`, {
    hint: 'name the KMS keys alone',
  });
}

function notNeeded(asked: string, principal: Principal | undefined, { settings }: Context): UsageError {
  if (principal === undefined) {
    return new UsageError(`cannot print the policy of the ${asked}: it does not say for whom`, {
      hint: '--principal with the ARN of the role',
    });
  }
  return new UsageError(
    `cannot print the policy of the bucket: ${quote(settings.bundle ?? settings.store ?? '')} is in none`,
    {
      hint: 'there is nothing to allow',
    },
  );
}

/** Across accounts both sides have to allow it. */
function warnOfOthers(task: Task, principal: Principal | undefined, { ui, settings }: Context): void {
  if (principal === undefined) return;
  const { keys } = task;
  const foreign = keys.filter(({ account }) => account !== principal.account);
  if (foreign.length > 0) {
    ui.warn(`the key is of account ${foreign[0]?.account}: its policy must say what --document key prints`);
  }
  const owner = settings.expectedBucketOwner ?? keys[0]?.account;
  if (isInS3(task) && owner !== principal.account) {
    ui.warn(`the bucket is of account ${owner}: its policy must say what --document bucket prints`);
  }
}
