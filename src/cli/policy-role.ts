/** `policy instance` and `policy author`: the least that a role needs, as JSON that the aws command takes. Asks nobody. */

import { validateName } from '../bundle/name.ts';
import type { SettingName, Settings } from '../daemon/config.ts';
import { checkLocation, isS3Url } from '../daemon/location.ts';
import { quote, UsageError } from '../errors.ts';
import { type KeyArn, parseAcceptedKey } from '../keyring/spec.ts';
import { type PolicyDocument, policyDocument } from '../keys/policy-document.ts';
import { type Principal, parsePrincipal } from '../keys/principals.ts';
import { queueArn } from '../keys/queue-arn.ts';
import { bucketPolicy, identityPolicy, keyStatements, type Role, type Task } from '../keys/role-policy.ts';
import { parseS3Url } from '../source/s3-url.ts';
import { type Command, type Context, optionalTextArg } from './command.ts';
import { nameFromLocation } from './names.ts';

export const policyInstance = policyOf('instance', ['queue', 'topic']);
export const policyAuthor = policyOf('author', []);

const DOCUMENTS = ['identity', 'key', 'bucket'] as const;

function policyOf(role: Role, noticing: readonly SettingName[]): Command {
  return {
    usage: `policy ${role}`,
    settings: ['bundle', 'name', 'key', 'expectedBucketOwner', ...noticing],
    build: (yargs) =>
      yargs
        .option('bundle', { type: 'string', requiresArg: true, describe: 's3://bucket/key, or a path' })
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
      const settled = taskOf(role, context.settings, optionalTextArg(args, 'bucketKey'));
      const task: Task = { ...settled, account: principal?.account };
      const documents = documentsOf(task, principal);
      if (context.json) {
        const { identity, keys = null, bucket = null } = documents;
        return context.ui.printJson({ role, name: task.name, identity, keys, bucket });
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
  return { identity, keys, bucket: task.bundle === undefined ? undefined : bucketPolicy(task, principal) };
}

function onlyKey(keys: Documents['keys']): PolicyDocument | undefined {
  if (keys === undefined || keys.length === 1) return keys?.[0]?.policy;
  throw new UsageError(`cannot print one policy for ${keys.length} keys`, {
    hint: 'ask with one --key at a time, or take all from --json',
  });
}

function taskOf(role: Role, settings: Settings, bucketKey: string | undefined): Task {
  const { bundle: location, key: given = [], queue, topic } = settings;
  if (location === undefined) {
    throw new UsageError('no bundle given', { hint: '--bundle s3://BUCKET/KEY, or a path' });
  }
  if (given.length === 0) {
    throw new UsageError('no key given', {
      hint: '--key with the ARN of each KMS key that wraps the bundle',
    });
  }
  const keys = given.map((key) => keyArn(key));
  const partition = keys[0]?.partition;
  const sseKey = bucketKey === undefined ? undefined : keyArn(bucketKey);
  const other = [...keys, ...(sseKey === undefined ? [] : [sseKey])].find(
    (key) => key.partition !== partition,
  );
  if (other !== undefined) {
    throw new UsageError(`cannot use ${quote(other.text)} beside a key of the partition ${partition}`, {
      hint: 'a role is of one partition: make a policy for each',
    });
  }
  checkLocation(location);
  return {
    role,
    keys,
    name: settings.name === undefined ? nameFromLocation(location) : validateName(settings.name),
    bundle: isS3Url(location) ? parseS3Url(location) : undefined,
    sseKey,
    topic,
    queue: queue === undefined ? undefined : queueArn(queue, partition ?? 'aws'),
  };
}

/** A policy names keys by their ARN alone: with an alias it would match nothing. */
function keyArn(text: string): KeyArn {
  const spec = parseAcceptedKey(text);
  if (spec.kind === 'kms') return spec.arn;
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
  return new UsageError(`cannot print the policy of the bucket: ${quote(settings.bundle ?? '')} is in none`, {
    hint: 'there is nothing to allow',
  });
}

/** Across accounts both sides have to allow it. */
function warnOfOthers(
  { keys, bundle }: Task,
  principal: Principal | undefined,
  { ui, settings }: Context,
): void {
  if (principal === undefined) return;
  const foreign = keys.filter(({ account }) => account !== principal.account);
  if (foreign.length > 0) {
    ui.warn(`the key is of account ${foreign[0]?.account}: its policy must say what --document key prints`);
  }
  const owner = settings.expectedBucketOwner ?? keys[0]?.account;
  if (bundle !== undefined && owner !== principal.account) {
    ui.warn(`the bucket is of account ${owner}: its policy must say what --document bucket prints`);
  }
}
