/** What counts as a use of a key, what nothing else can open, and what keeps a deletion from going ahead. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError, KeyError, SourceError } from '../../../src/errors.ts';
import { parseKeyArn } from '../../../src/keyring/spec.ts';
import type { KeyFacts } from '../../../src/keys/key-facts.ts';
import { type Candidate, isUnused, UsageAudit, type UsagePorts } from '../../../src/keys/usage.ts';

const ID = '1234abcd-12ab-34cd-56ef-1234567890ab';
const MRK = 'mrk-1234abcd12ab34cd56ef1234567890ab';
const arn = (id = ID, region = 'eu-west-1') => `arn:aws:kms:${region}:123456789012:key/${id}`;
const OTHER = arn('00000000-0000-4000-8000-000000000001');
const THIRD = arn('00000000-0000-4000-8000-000000000002');

function facts(text: string, replicas: readonly string[] = []): KeyFacts {
  const parsed = parseKeyArn(text) ?? assert.fail(text);
  const rest = {
    description: '',
    created: undefined,
    managedByAws: false,
    spec: 'SYMMETRIC_DEFAULT',
    origin: 'AWS_KMS',
  };
  return { arn: parsed, state: 'Enabled', ...rest, replicas, deletionDate: undefined };
}

/** The header of a message, version 2, with a name and these keys: provider, key. */
function messageOf(...keys: (readonly [string, string])[]): Buffer {
  const field = (text: string) => {
    const bytes = Buffer.from(text);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(bytes.length);
    return Buffer.concat([length, bytes]);
  };
  const number = (value: number) => Buffer.from([value >> 8, value & 0xff]);
  const context = Buffer.concat([
    number(2),
    field('secretsfs-format'),
    field('1'),
    field('secretsfs-name'),
    field('web'),
  ]);
  return Buffer.concat([
    Buffer.from([2, 5, 0x78]),
    Buffer.alloc(32),
    number(context.length),
    context,
    number(keys.length),
    ...keys.flatMap(([provider, key]) => [field(provider), field(key), field('wrapped')]),
  ]);
}

function candidate(bytes: Buffer, more: Partial<Candidate> & { s3Key?: string } = {}): Candidate {
  const { s3Key, ...rest } = more;
  return {
    location: 's3://bucket/web.enc',
    version: undefined,
    current: true,
    size: bytes.length,
    read: async (offset, length) => ({ bytes: bytes.subarray(offset, offset + length), s3Key }),
    ...rest,
  };
}

const described: string[] = [];
const PORTS: UsagePorts = {
  describe: async (keyId) => {
    described.push(keyId);
    if (keyId === OTHER) return facts(OTHER);
    if (keyId === THIRD) return { ...facts(THIRD), state: 'PendingDeletion' };
    const code = keyId.includes('us-east-1') ? 'key-denied' : 'key-not-found';
    throw new KeyError(code, 'cannot look at the key');
  },
  opens: async (blob) => (blob.includes('own') ? 'yes' : blob.includes('other') ? 'no' : 'unknown'),
};

async function usageOf(candidates: readonly Candidate[], key = facts(arn())) {
  const audit = new UsageAudit(key, PORTS);
  for (const each of candidates) await audit.look(each);
  return audit.usage;
}

test('a message is a use where it names the key; what else can open it depends on what became of the others', async () => {
  const { uses, unseen, looked } = await usageOf([
    candidate(messageOf(['aws-kms', arn()])),
    candidate(messageOf(['aws-kms', arn()], ['aws-kms', OTHER])),
    candidate(messageOf(['aws-kms', THIRD], ['aws-kms', arn()], ['aws-kms', arn(undefined, 'eu-west-3')])),
    candidate(messageOf(['aws-kms', arn()], ['aws-kms', arn(undefined, 'us-east-1')])),
    candidate(messageOf(['aws-kms', arn()], ['secretsfs-local', '0123456789abcdef'])),
    candidate(messageOf(['aws-kms', OTHER])),
    candidate(Buffer.from('hello')),
  ]);
  assert.deepEqual([unseen, looked], [[], 7]);
  const found = uses.map(({ what, name, only, others }) => [
    what,
    name,
    only,
    ...others.map(({ state }) => state),
  ]);
  assert.deepEqual(found, [
    ['bundle', 'web', true],
    ['bundle', 'web', false, 'Enabled'],
    ['bundle', 'web', true, 'PendingDeletion', 'missing'],
    ['bundle', 'web', null, 'unknown'],
    ['bundle', 'web', false, 'file'],
  ]);
});

test("a bucket's default encryption may name the key by an alias; one that may not be looked at keeps the key", async () => {
  const aliases: Record<string, string> = { 'alias/own': arn(), 'alias/other': OTHER };
  const audit = new UsageAudit(facts(arn()), {
    ...PORTS,
    describe: async (keyId) => {
      const named = aliases[keyId.replace(/^arn:.*:/, '')];
      if (named !== undefined) return facts(named);
      throw new KeyError(keyId === 'alias/denied' ? 'key-denied' : 'key-not-found', 'cannot look at the key');
    },
  });
  const is = (text: string) => audit.isNamedBy(text, 's3://bucket');
  const own = 'arn:aws:kms:eu-west-1:123456789012:alias/own';
  for (const text of [arn(), ID, 'alias/own', own]) assert.equal(await is(text), true, text);
  for (const text of [OTHER, 'alias/other', 'alias/gone']) assert.equal(await is(text), false, text);
  assert.deepEqual(audit.usage.unseen, []);
  assert.equal(await is('alias/denied'), false);
  assert.deepEqual(
    audit.usage.unseen.map(({ location }) => location),
    ['s3://bucket'],
  );
});

test('each other key is asked about once', async () => {
  described.length = 0;
  const message = messageOf(['aws-kms', arn()], ['aws-kms', OTHER]);
  await usageOf([candidate(message), candidate(message)]);
  assert.deepEqual(described, [OTHER]);
});

test("S3's own layer is a use, and what KMS alone can tell is asked", async () => {
  const blob = (text: string) => Buffer.concat([Buffer.from([1, 2, 2, 0]), Buffer.from(text)]);
  const { uses, unseen } = await usageOf([
    candidate(Buffer.from('hello'), { s3Key: arn() }),
    candidate(Buffer.from('hello'), { s3Key: OTHER }),
    candidate(blob('own'), { location: 's3://bucket/a.kms' }),
    candidate(blob('other')),
    candidate(blob('neither'), { location: 's3://bucket/c.kms', version: 'v1', current: false }),
  ]);
  assert.deepEqual(
    uses.map(({ what, location, only }) => [what, location, only]),
    [
      ['sse', 's3://bucket/web.enc', true],
      ['kms', 's3://bucket/a.kms', true],
    ],
  );
  assert.deepEqual(
    unseen.map(({ location, version }) => [location, version]),
    [['s3://bucket/c.kms', 'v1']],
  );
  assert.match(unseen[0]?.why ?? '', /--context/);
});

test('what can not be read, or is cut short, is not seen; what is wrong with the set-up ends it', async () => {
  const denied = new SourceError('source-denied', 'cannot look into it', { hint: 'grant s3:GetObject' });
  const fails = (error: Error) => candidate(Buffer.alloc(9), { read: () => Promise.reject(error) });
  const usage = await usageOf([fails(denied), candidate(messageOf(['aws-kms', arn()]).subarray(0, 60))]);
  assert.deepEqual(usage.uses, []);
  assert.deepEqual(
    usage.unseen.map(({ why, hint }) => [why, hint]),
    [
      ['cannot look into it', 'grant s3:GetObject'],
      ['it is a message whose header is cut short', null],
    ],
  );
  assert.equal(isUnused(usage), false);
  assert.equal(isUnused(await usageOf([candidate(messageOf(['aws-kms', OTHER]))])), true);
  const expired = new ConfigError('credentials-expired', 'cannot use the AWS credentials');
  await assert.rejects(usageOf([fails(expired)]), expired);
  const bug = new TypeError('a bug');
  await assert.rejects(usageOf([fails(bug)]), bug);
});

test('a multi-Region key answers for all regions when it is alone, and each replica for its own when it is not', async () => {
  const [here, there] = [arn(MRK), arn(MRK, 'us-west-2')];
  const candidates = [candidate(messageOf(['aws-kms', here])), candidate(messageOf(['aws-kms', there]))];
  const alone = await usageOf(candidates, facts(here, [here]));
  assert.equal(alone.uses.length, 2);
  const beside = await usageOf(candidates, facts(here, [here, there]));
  assert.equal(beside.uses.length, 1);
});

test('grants and buckets are uses of which nobody knows what depends on them', () => {
  const audit = new UsageAudit(facts(arn()), PORTS);
  audit.usedBy('grant 1 to rds.amazonaws.com', 'grant', 'rds');
  const [use] = audit.usage.uses;
  assert.deepEqual([use?.what, use?.only, use?.version, use?.current], ['grant', null, null, true]);
  assert.equal(isUnused(audit.usage), false);
});
