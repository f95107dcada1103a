/** What a person gets wrong with keys, and what KMS refuses: each with a line that says what, a hint, and its exit code. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { awsEnv, createAlias, createKey, type Moto, startMoto, unique, withoutAws } from '../support/moto.ts';
import { Bench } from '../support/program.ts';

let moto: Moto;
let proxy: FaultProxy;
before(async () => {
  moto = await startMoto();
  proxy = await startFaultProxy(moto.url);
});
after(async () => {
  await proxy?.close();
  await moto?.stop();
});

const ADMIN = 'arn:aws:iam::123456789012:role/admin';
const MISSING = '00000000-0000-4000-8000-000000000000';

/** Runs it and insists on this refusal. */
async function refused(
  bench: Bench,
  args: readonly string[],
  wanted: { readonly exit: number; readonly code: string; readonly says: RegExp; readonly hint: RegExp },
  env = bench.env,
): Promise<void> {
  const { code, stdout, stderr } = await bench.secretsfs([...args, '--json'], { env });
  assert.equal(stdout, '', stderr);
  const { error } = JSON.parse(stderr);
  assert.deepEqual([code, error.exitCode, error.code], [wanted.exit, wanted.exit, wanted.code], stderr);
  assert.match(error.message, wanted.says);
  assert.match(error.hint ?? '', wanted.hint);
}

test('what was typed wrong is refused before KMS is asked', async (t) => {
  const bench = await Bench.create(t, { ...withoutAws(process.env), AWS_REGION: 'eu-west-1' });
  await writeFile(bench.path('no.json'), '{"Statement": []}');
  await writeFile(bench.path('text'), 'hello');
  const create = ['keys', 'create', '--alias', 'web'];
  for (const [args, says, hint] of [
    [['keys', 'create'], /alias/, /--help/],
    [['keys', 'create', '--alias', 'alias/aws/s3', '--admin', ADMIN], /for keys of AWS alone/, /another/],
    [['keys', 'create', '--alias', 'a b', '--admin', ADMIN], /not the name of one/, /letters/],
    [create, /nobody manages/, /--admin/],
    [[...create, '--admin', 'jane'], /--admin "jane"/, /arn:aws:iam/],
    [[...create, '--admin', ADMIN, '--reader', ADMIN], /names no bundle/, /NAME=ARN/],
    [[...create, '--admin', ADMIN, '--policy', 'text'], /beside/, /the file/],
    [[...create, '--policy', 'text'], /it is not JSON/, /keys policy/],
    [[...create, '--policy', 'no.json'], /no Statement/, /keys policy/],
    [[...create, '--policy', 'missing'], /no such file/, /path/],
    [[...create, '--admin', ADMIN, '--region', 'cn-north-1'], /of the partition aws-cn/, /--region/],
    [['keys', 'rotation', 'maybe', 'alias/web'], /WHAT is "maybe", want "on" or "off" or "now"/, /--help/],
    [['keys', 'rotation', 'on', 'alias/web', '--every', '10'], /every 10 days/, /90 to 2560/],
    [['keys', 'rotation', 'off', 'alias/web', '--every', '100'], /--every with off/, /keys rotation on/],
    [['keys', 'show', 'local:key'], /managed as a file/, /KMS/],
    [['keys', 'show', 'web'], /names no key/, /alias\/NAME/],
    [['keys', 'alias', 'web'], /no KEY given/, /--remove/],
    [['keys', 'alias', 'alias/aws/s3', MISSING], /for keys of AWS alone/, /another/],
    [['keys', 'alias', 'web', MISSING, '--remove'], /both/, /--remove/],
    [['keys', 'dissable', MISSING], /unknown command/, /did you mean "keys disable"/],
  ] as const) {
    await refused(bench, args, { exit: 2, code: 'usage', says, hint });
  }
});

test('a key that is not there, of another region, of AWS or with a taken alias is refused by what it is', async (t) => {
  const bench = await Bench.create(t, awsEnv(moto.url));
  const key = await createKey(moto.url);
  const alias = await createAlias(moto.url, key);
  const missing = { exit: 5, code: 'key-not-found', hint: /--region/ };
  for (const command of [['show'], ['disable'], ['enable'], ['policy'], ['rotation', 'on']])
    await refused(bench, ['keys', ...command, MISSING], {
      ...missing,
      says: /no such key or alias in this account and region/,
    });
  const away = ['keys', 'show', key.split('/')[1] ?? '', '--region', 'us-east-1'];
  await refused(bench, away, { ...missing, says: /no such key/ });
  // Its ARN says where it is.
  await bench.must(['keys', 'show', key, '--region', 'us-east-1']);
  await refused(bench, ['keys', 'alias', unique('gone'), '--remove'], {
    ...missing,
    says: /there is none in eu-west-1/,
  });
  await refused(bench, ['keys', 'create', '--alias', alias, '--admin', ADMIN], {
    exit: 5,
    code: 'key-exists',
    says: new RegExp(`it is of ${key}`),
    hint: /--replace/,
  });
  const nowhere = { ...bench.env, AWS_REGION: '' };
  await refused(
    bench,
    ['keys', 'ls'],
    { exit: 3, code: 'region-missing', says: /region/, hint: /--region/ },
    nowhere,
  );
});

test("AWS's own keys are shown and left alone", async (t) => {
  const bench = await Bench.create(t, awsEnv(proxy.url));
  const key = await createKey(moto.url);
  proxy.rules = [
    ({ operation }) => {
      if (operation !== 'DescribeKey') return undefined;
      const KeyMetadata = { Arn: key, KeyId: key.split('/')[1], KeyState: 'Enabled', KeyManager: 'AWS' };
      const headers = { 'content-type': 'application/x-amz-json-1.1' };
      return { kind: 'answer', status: 200, headers, body: JSON.stringify({ KeyMetadata }) };
    },
  ];
  t.after(() => {
    proxy.rules = [];
  });
  assert.match(await bench.must(['keys', 'show', key]), /by AWS/);
  const listed = async (...args: string[]) =>
    JSON.parse(await bench.must(['keys', 'ls', '--json', ...args])).length;
  assert.equal(await listed(), 0);
  assert.ok((await listed('--all')) > 0);
  for (const args of [['disable'], ['rotation', 'now'], ['alias', 'web']])
    await refused(bench, ['keys', ...args, key], {
      exit: 5,
      code: 'key-invalid',
      says: /AWS's own/,
      hint: /keys create/,
    });
});

test('what KMS refuses is said in words, with what to do', async (t) => {
  const bench = await Bench.create(t, awsEnv(proxy.url));
  const key = await createKey(moto.url);
  t.after(() => {
    proxy.rules = [];
  });
  const fails = (operation: string, code: string, status = 400) => {
    proxy.rules = [
      (request) => (request.operation === operation ? { kind: 'error', status, code } : undefined),
    ];
  };
  const create = ['keys', 'create', '--alias', unique('web'), '--admin', ADMIN];
  for (const [operation, error, args, exit, code, says, hint] of [
    [
      'DescribeKey',
      'AccessDeniedException',
      ['show', key],
      5,
      'key-denied',
      /look at the key/,
      /kms:DescribeKey in the policy/,
    ],
    [
      'CreateKey',
      'AccessDeniedException',
      create.slice(1),
      5,
      'key-denied',
      /make a key in "eu-west-1"/,
      /kms:CreateKey in IAM/,
    ],
    [
      'CreateKey',
      'MalformedPolicyDocumentException',
      create.slice(1),
      5,
      'key-policy',
      /refuses the policy/,
      /--admin/,
    ],
    ['CreateKey', 'LimitExceededException', create.slice(1), 5, 'key-limit', /quota/, /service-quotas/],
    [
      'CreateAlias',
      'AlreadyExistsException',
      create.slice(1),
      5,
      'key-exists',
      /was made and has no alias/,
      /schedule-key-deletion/,
    ],
    [
      'EnableKeyRotation',
      'UnsupportedOperationException',
      ['rotation', 'on', key],
      5,
      'key-invalid',
      /of its kind/,
      /symmetric/,
    ],
    [
      'RotateKeyOnDemand',
      'LimitExceededException',
      ['rotation', 'now', key],
      5,
      'key-limit',
      /quota/,
      /25 times/,
    ],
    [
      'RotateKeyOnDemand',
      'ConflictException',
      ['rotation', 'now', key],
      5,
      'key-state',
      /under way/,
      /keys show/,
    ],
    [
      'EnableKeyRotation',
      'DisabledException',
      ['rotation', 'on', key],
      5,
      'key-disabled',
      /disabled/,
      /keys enable/,
    ],
    [
      'DisableKey',
      'InvalidArnException',
      ['disable', key],
      5,
      'key-not-found',
      /another account/,
      /--profile/,
    ],
    ['ListKeys', 'ThrottlingException', ['ls'], 5, 'key-throttled', /list the keys of "eu-west-1"/, /again/],
    ['ListKeys', 'ExpiredTokenException', ['ls'], 3, 'credentials-expired', /expired/, /sso login/],
    [
      'ListKeys',
      'UnrecognizedClientException',
      ['ls'],
      3,
      'credentials-invalid',
      /credentials/,
      /get-caller-identity/,
    ],
    [
      'ListAliases',
      'AccessDeniedException',
      ['ls'],
      5,
      'key-denied',
      /list the aliases of/,
      /kms:ListAliases in IAM/,
    ],
  ] as const) {
    fails(operation, error);
    await refused(bench, ['keys', ...args], { exit, code, says, hint });
  }
  const headers = { 'content-type': 'application/x-amz-json-1.1' };
  const body = JSON.stringify({ __type: 'KMSInvalidStateException', message: `${key} is pending deletion.` });
  proxy.rules = [
    ({ operation }) =>
      operation === 'DisableKey' ? { kind: 'answer', status: 400, headers, body } : undefined,
  ];
  const pending = {
    exit: 5,
    code: 'key-pending-deletion',
    says: /to be deleted/,
    hint: /keys delete .* --cancel/,
  };
  await refused(bench, ['keys', 'disable', key], pending);
});

test('keys ls shows the others where one key may not be looked at', async (t) => {
  const bench = await Bench.create(t, awsEnv(proxy.url));
  const [open, closed] = [await createKey(moto.url), await createKey(moto.url)];
  proxy.rules = [
    ({ operation, body }) =>
      operation === 'DescribeKey' && body.includes(closed)
        ? { kind: 'error', status: 400, code: 'AccessDeniedException' }
        : undefined,
  ];
  t.after(() => {
    proxy.rules = [];
  });
  const seen = new Map<string, boolean>();
  for (const { arn, seen: one } of JSON.parse(await bench.must(['keys', 'ls', '--json']))) seen.set(arn, one);
  assert.deepEqual([seen.get(open), seen.get(closed)], [true, false]);
  assert.match(await bench.must(['keys', 'ls']), new RegExp(`${closed} +not allowed`));
});
