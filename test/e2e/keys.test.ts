/** The commands of the group `keys`, as they are typed, with Debian's aws as the second client of the same KMS. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { after, before, type TestContext, test } from 'node:test';
import { problemsOf } from '../support/iam.ts';
import { awsEnv, createKey, type Moto, startMoto, unique } from '../support/moto.ts';
import { Bench, must } from '../support/program.ts';

const ACCOUNT = '123456789012';
const ADMIN = `arn:aws:iam::${ACCOUNT}:role/admin`;

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto.stop());

async function setUp(t: TestContext) {
  const bench = await Bench.create(t, awsEnv(moto.url));
  return {
    bench,
    /** The aws command, its answer parsed. */
    aws: async (...args: string[]) => {
      const all = [...args, '--region', 'eu-west-1', '--output', 'json'];
      return JSON.parse((await must('aws', all, { env: bench.env })) || 'null');
    },
    json: async (...args: string[]) => JSON.parse(await bench.must([...args, '--json'])),
    alias: `alias/${unique('web')}`,
  };
}

test('keys create prints the policy, makes the key and its alias; aws finds both, and the policy word for word', async (t) => {
  const { bench, aws, alias } = await setUp(t);
  const named = alias.replace('alias/', '');
  const asked = ['keys', 'create', '--alias', named, '--description', 'secretsfs: web', '--admin', ADMIN];
  const readers = [
    '--reader',
    `web=arn:aws:iam::${ACCOUNT}:role/web`,
    '--reader',
    'mail=arn:aws:iam::999988887777:role/mail',
  ];
  const printed = await bench.must([...asked, ...readers, '--author', `web=arn:aws:iam::${ACCOUNT}:role/ci`]);
  const end = printed.lastIndexOf('\n}\n') + 3;
  const policy = JSON.parse(printed.slice(0, end));
  assert.deepEqual(problemsOf(policy, 'resource'), []);
  const sids = policy.Statement.map(({ Sid }: { Sid: string }) => Sid);
  assert.deepEqual(sids, ['RootUserAlone', 'Manage', 'Sealweb', 'Openmail', 'Openweb']);
  assert.match(
    printed.slice(end),
    new RegExp(`^made arn:aws:kms:eu-west-1:${ACCOUNT}:key/\\S+, ${alias}\n$`),
  );

  const { KeyMetadata } = await aws('kms', 'describe-key', '--key-id', alias);
  assert.equal(KeyMetadata.Description, 'secretsfs: web');
  assert.equal(KeyMetadata.MultiRegion, false);
  const { Policy } = await aws(
    'kms',
    'get-key-policy',
    '--key-id',
    KeyMetadata.KeyId,
    '--policy-name',
    'default',
  );
  assert.deepEqual(JSON.parse(Policy), policy);
});

test('keys create --dry-run makes nothing, --policy takes a file, --multi-region a key that may be replicated', async (t) => {
  const { bench, aws, json, alias } = await setUp(t);
  const asked = ['keys', 'create', '--alias', alias, '--multi-region'];
  const dry = await json(...asked, '--iam', '--dry-run');
  assert.equal(`${dry.dryRun} ${dry.arn}`, 'true null');
  assert.equal(dry.policy.Statement[0].Principal.AWS, `arn:aws:iam::${ACCOUNT}:root`);
  const { Aliases } = await aws('kms', 'list-aliases');
  assert.ok(!Aliases.some((each: { AliasName: string }) => each.AliasName === alias));

  await writeFile(bench.path('policy.json'), JSON.stringify(dry.policy));
  const made = await json(...asked, '--policy', 'policy.json');
  assert.deepEqual(made.policy, dry.policy);
  assert.match(made.arn, /:key\/mrk-/);
  const { KeyMetadata } = await aws('kms', 'describe-key', '--key-id', alias);
  assert.equal(KeyMetadata.Arn, made.arn);
});

test('keys ls and keys show see what aws made, and the other way round', async (t) => {
  const { bench, aws, json, alias } = await setUp(t);
  const made = await aws('kms', 'create-key', '--description', 'by aws');
  const { Arn: arn, KeyId: id } = made.KeyMetadata;
  await aws('kms', 'create-alias', '--alias-name', alias, '--target-key-id', id);
  await bench.must(['keys', 'rotation', 'on', alias]);
  assert.equal((await aws('kms', 'get-key-rotation-status', '--key-id', id)).KeyRotationEnabled, true);

  const listed = (await json('keys', 'ls')).find((each: { arn: string }) => each.arn === arn);
  const facts = {
    aliases: [alias],
    state: 'Enabled',
    description: 'by aws',
    rotates: true,
    managedByAws: false,
  };
  for (const [name, value] of Object.entries(facts)) assert.deepEqual(listed[name], value, name);
  const table = (await bench.must(['keys', 'ls'])).split('\n');
  assert.match(table[0] ?? '', /^alias +key +state +rotation +created +description$/);
  assert.ok(table.some((line) => line.startsWith(alias) && line.includes(arn) && line.endsWith('by aws')));

  const shown = await json('keys', 'show', id);
  assert.deepEqual([shown.arn, shown.aliases, shown.rotation.enabled], [arn, [alias], true]);
  const text = await bench.must(['keys', 'show', alias]);
  assert.match(text, new RegExp(`^key +${arn}$`, 'm'));
  assert.match(text, /^rotation +every \d+ days/m);
  assert.match(text, /^grants +none$/m);

  await bench.must(['keys', 'rotation', 'now', arn]);
  await bench.must(['keys', 'rotation', 'off', arn]);
  assert.equal((await aws('kms', 'get-key-rotation-status', '--key-id', id)).KeyRotationEnabled, false);
  assert.match(await bench.must(['keys', 'show', alias]), /^rotation +never$/m);
});

test('keys alias sets, moves only when told to, and removes', async (t) => {
  const { bench, json, aws, alias } = await setUp(t);
  const [one, two] = [await createKey(moto.url), await createKey(moto.url)];
  const target = async () => {
    const { Aliases } = await aws('kms', 'list-aliases');
    return Aliases.find((each: { AliasName: string }) => each.AliasName === alias)?.TargetKeyId;
  };
  assert.equal((await json('keys', 'alias', alias, one, '--dry-run')).before, null);
  assert.equal(await target(), undefined);
  await bench.must(['keys', 'alias', alias, one]);
  assert.equal(await target(), one.split('/')[1]);
  assert.match(await bench.must(['keys', 'alias', alias, one]), /already/);

  const refused = await bench.secretsfs(['keys', 'alias', alias, two]);
  assert.equal(refused.code, 5);
  assert.match(refused.stderr, /it is of arn:aws.*\(key-exists\)\n.*hint: --replace/);
  assert.equal(await target(), one.split('/')[1]);
  await bench.must(['keys', 'alias', alias, two, '--replace', '--dry-run']);
  assert.equal(await target(), one.split('/')[1]);
  await bench.must(['keys', 'alias', alias, two, '--replace']);
  assert.equal(await target(), two.split('/')[1]);

  await bench.must(['keys', 'alias', alias, '--remove', '--dry-run']);
  assert.notEqual(await target(), undefined);
  assert.equal((await json('keys', 'alias', alias, '--remove')).before, two);
  assert.equal(await target(), undefined);
});

test('keys disable, enable and policy do what they say, and with --dry-run nothing', async (t) => {
  const { bench, aws, json } = await setUp(t);
  const key = await createKey(moto.url);
  const state = async () => (await aws('kms', 'describe-key', '--key-id', key)).KeyMetadata.KeyState;
  await bench.must(['keys', 'disable', key, '--dry-run']);
  assert.equal(await state(), 'Enabled');
  await bench.must(['keys', 'disable', key]);
  assert.equal(await state(), 'Disabled');
  await bench.must(['keys', 'enable', key]);
  assert.equal(await state(), 'Enabled');

  const was = JSON.parse(await bench.must(['keys', 'policy', key]));
  const added = {
    Sid: 'More',
    Effect: 'Allow',
    Principal: { AWS: ADMIN },
    Action: 'kms:ListGrants',
    Resource: '*',
  };
  const policy = { ...was, Statement: [...was.Statement, added] };
  const stdin = Buffer.from(JSON.stringify(policy));
  const read = async () => {
    const { Policy } = await aws('kms', 'get-key-policy', '--key-id', key, '--policy-name', 'default');
    return JSON.parse(Policy);
  };
  await bench.must(['keys', 'policy', key, '--set', '-', '--dry-run'], { stdin });
  assert.deepEqual(await read(), was);
  assert.deepEqual(JSON.parse(await bench.must(['keys', 'policy', key, '--set', '-'], { stdin })), was);
  assert.deepEqual(await read(), policy);
  assert.deepEqual((await json('keys', 'policy', key)).policy, policy);
});

test('keys delete refuses a key that is not symmetric: nothing shows what needs it', async (t) => {
  const { bench, aws } = await setUp(t);
  const asked = ['--key-spec', 'RSA_2048', '--key-usage', 'SIGN_VERIFY'];
  const { KeyMetadata } = await aws('kms', 'create-key', ...asked);
  await writeFile(bench.path('file'), 'x');
  const { code, stderr } = await bench.secretsfs([
    'keys',
    'delete',
    KeyMetadata.Arn,
    '--days',
    '7',
    '--in',
    'file',
  ]);
  assert.equal(code, 5, stderr);
  assert.match(stderr, /it is RSA_2048, .* \(key-usage-unseen\)/);
});
