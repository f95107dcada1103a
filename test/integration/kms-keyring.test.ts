import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { buildClient, CommitmentPolicy, KMS, KmsKeyringNode } from '@aws-crypto/client-node';
import {
  EncryptedDataKey,
  KeyringNode,
  type NodeDecryptionMaterial,
} from '@aws-crypto/material-management-node';
import { GenerateDataKeyCommand } from '@aws-sdk/client-kms';
import { AwsAccess } from '../../src/aws/access.ts';
import { type ConfigError, type ErrorCode, SecretsfsError } from '../../src/errors.ts';
import { openDiscovering, openUnwrapping, openWrapping } from '../../src/keyring/keyring.ts';
import { type Fault, type FaultProxy, type Rule, startFaultProxy } from '../support/fault-proxy.ts';
import {
  ACCOUNT,
  awsEnv,
  createAlias,
  createKey,
  type Moto,
  motoKms,
  replaceEnv,
  startMoto,
} from '../support/moto.ts';

const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
const context = { 'secretsfs-name': 'web' };
const plaintext = Buffer.from('a tar, say');

let moto: Moto;
let proxy: FaultProxy;
let directory: string;
let restore: () => void;
let aws: AwsAccess;
let keyArn: string;

before(async () => {
  moto = await startMoto();
  proxy = await startFaultProxy(moto.url);
  directory = await mkdtemp(path.join(tmpdir(), 'keyring-'));
  restore = replaceEnv(awsEnv(proxy.url));
  keyArn = await createKey(moto.url);
});
beforeEach(() => {
  aws?.destroy();
  aws = new AwsAccess({ env: process.env });
  proxy.rules = [];
  proxy.seen.length = 0;
});
after(async () => {
  aws?.destroy();
  restore?.();
  await proxy?.close();
  await moto?.stop();
  if (directory) await rm(directory, { recursive: true });
});

async function seal(specs: string[]): Promise<Buffer> {
  const { keyring } = await openWrapping(specs, aws);
  return (await encrypt(keyring, plaintext, { encryptionContext: context })).result;
}
async function unseal(message: Buffer, specs: string[]): Promise<Buffer> {
  const { keyring } = await openUnwrapping(specs, aws);
  return (await decrypt(keyring, message)).plaintext;
}
const regions = (operation: string): (string | undefined)[] =>
  proxy.seen.filter((r) => r.operation === operation).map((r) => r.region);
const failsWith =
  (code: ErrorCode, text?: RegExp) =>
  (error: unknown): true => {
    assert.ok(error instanceof SecretsfsError, `not ours: ${error}`);
    assert.equal(error.code, code, error.message);
    if (text !== undefined) assert.match(`${error.message}\n${error.hint ?? ''}`, text);
    return true;
  };

test('what we wrap, the stock KMS keyring unwraps, and the reverse', async () => {
  const second = await createKey(moto.url, { region: 'us-east-1' });
  // The library's types predate exactOptionalPropertyTypes.
  const clientProvider = ((region: string) =>
    new KMS({
      region,
      endpoint: moto.url,
      credentials: { accessKeyId: 'testing', secretAccessKey: 'testing' },
    })) as never;

  const ours = await seal([keyArn, second]);
  for (const keyIds of [[keyArn], [second]]) {
    const stock = new KmsKeyringNode({ clientProvider, keyIds });
    const opened = await decrypt(stock, ours);
    assert.deepEqual(opened.plaintext, plaintext);
    assert.equal(opened.messageHeader.encryptionContext['secretsfs-name'], 'web');
    assert.deepEqual(
      opened.messageHeader.encryptedDataKeys.map((k) => [k.providerId, k.providerInfo]),
      [
        ['aws-kms', keyArn],
        ['aws-kms', second],
      ],
    );
  }

  const stock = new KmsKeyringNode({ clientProvider, generatorKeyId: keyArn, keyIds: [second] });
  const { result: theirs } = await encrypt(stock, plaintext, { encryptionContext: context });
  assert.deepEqual(await unseal(theirs, [keyArn]), plaintext);
  assert.deepEqual(await unseal(theirs, [second]), plaintext);
});

test('each key is called in its own region, with the encryption context', async () => {
  const second = await createKey(moto.url, { region: 'ap-southeast-2' });
  const message = await seal([keyArn, second]);
  assert.deepEqual(regions('GenerateDataKey'), ['eu-west-1']);
  assert.deepEqual(regions('Encrypt'), ['ap-southeast-2']);
  for (const { body } of proxy.seen)
    assert.equal(JSON.parse(String(body)).EncryptionContext['secretsfs-name'], 'web');
  await unseal(message, [second]);
  assert.deepEqual(regions('Decrypt'), ['ap-southeast-2']);
  const { KeyId } = JSON.parse(String(proxy.seen.at(-1)?.body));
  assert.equal(KeyId, second, 'the key to decrypt with is always named');
});

test('an alias, its ARN and a bare id wrap, and the message names the key by its ARN', async () => {
  const alias = await createAlias(moto.url, keyArn);
  const aliasArn = keyArn.replace(/key\/.*/, alias);
  for (const spec of [alias, aliasArn, keyArn.split('/')[1] ?? '']) {
    assert.deepEqual(await unseal(await seal([spec]), [keyArn]), plaintext, spec);
  }
  await assert.rejects(seal([alias, keyArn]), failsWith('usage', /given twice/));
});

async function discover(message: Buffer, specs: string[]): Promise<Buffer> {
  const { keyring } = await openDiscovering(specs, aws);
  return (await decrypt(keyring, message)).plaintext;
}

test('a message is opened without a key being named, by ids that KMS looks for in the own account alone', async () => {
  const far = await createKey(moto.url, { region: 'us-east-1' });
  for (const key of [keyArn, far]) {
    const message = await seal([key]);
    for (const specs of [[], [await createAlias(moto.url, keyArn)], [keyArn]]) {
      proxy.seen.length = 0;
      assert.deepEqual(await discover(message, specs), plaintext);
      const [request] = proxy.seen;
      const { KeyId } = JSON.parse(String(request?.body));
      assert.equal(
        KeyId,
        specs.includes(key) ? key : key.split('/')[1],
        'an id, unless a person named the ARN',
      );
      assert.equal(request?.region, key.split(':')[3]);
    }
  }
});

test('a key that the account does not have is not accepted, and no hint asks to be let in', async () => {
  const message = await seal([keyArn]);
  const answer = (code: string) => () => ({ kind: 'error' as const, status: 400, code });
  proxy.rules = [answer('NotFoundException')];
  await assert.rejects(
    discover(message, []),
    failsWith('key-not-accepted', /no key of the account.*--accept-key/s),
  );
  await assert.rejects(discover(message, [keyArn]), failsWith('key-not-found', /./));
  proxy.rules = [answer('AccessDeniedException')];
  await assert.rejects(discover(message, []), failsWith('key-denied', /if that is a key of yours/));
});

test('where only key files were named, KMS is not asked', async () => {
  const file = path.join(directory, 'only-key');
  await writeFile(file, randomBytes(32), { mode: 0o400 });
  assert.deepEqual(await discover(await seal([`local:${file}`]), [`local:${file}`]), plaintext);
  const message = await seal([keyArn]);
  proxy.seen.length = 0;
  await assert.rejects(discover(message, [`local:${file}`]), failsWith('key-not-accepted'));
  assert.equal(proxy.seen.length, 0);
  assert.deepEqual(await discover(message, [`local:${file}`, keyArn]), plaintext);
});

test('a local and a KMS key open one bundle each alone, and the local one asks no network', async () => {
  const file = path.join(directory, 'key');
  await writeFile(file, randomBytes(32), { mode: 0o400 });
  for (const specs of [
    [`local:${file}`, keyArn],
    [keyArn, `local:${file}`],
  ]) {
    const message = await seal(specs);
    assert.deepEqual(await unseal(message, [keyArn]), plaintext);
    proxy.seen.length = 0;
    assert.deepEqual(await unseal(message, [keyArn, `local:${file}`]), plaintext);
    assert.equal(proxy.seen.length, 0);
  }
});

test('only accepted keys are ever asked', async () => {
  const other = await createKey(moto.url);
  const message = await seal([keyArn]);
  proxy.seen.length = 0;
  await assert.rejects(unseal(message, [other]), failsWith('key-not-accepted', new RegExp(keyArn)));
  assert.equal(proxy.seen.length, 0);
});

/**
 * A multi-Region key with replicas in `replicas`. moto cannot decrypt with those that it makes itself, so an ordinary
 * key of its own stands behind all of them, under the id that the test sees.
 */
async function multiRegionKey(
  ...replicas: string[]
): Promise<{ arn: (region: string) => string; rule: Rule }> {
  const real = await createKey(moto.url);
  const id = `mrk-${randomBytes(16).toString('hex')}`;
  const arn = (region: string): string => `arn:aws:kms:${region}:${ACCOUNT}:key/${id}`;
  const rule: Rule = ({ region = '', body }) => {
    if (!body.includes(id)) return undefined;
    if (!replicas.includes(region)) return { kind: 'error', status: 400, code: 'NotFoundException' };
    return { kind: 'rewrite', from: arn(region), to: real, region: 'eu-west-1' };
  };
  proxy.rules = [rule];
  return { arn, rule };
}

test('a multi-Region key opens with the ARN of any replica, nearest first', async () => {
  const { arn, rule } = await multiRegionKey('us-east-1', 'eu-west-1');
  const message = await seal([arn('us-east-1')]);
  proxy.seen.length = 0;
  assert.deepEqual(await unseal(message, [arn('eu-west-1')]), plaintext);
  assert.deepEqual(regions('Decrypt'), ['eu-west-1'], 'the replica in the own region is enough');

  proxy.rules = [(r) => (r.region === 'eu-west-1' ? { kind: 'reset' } : undefined), rule];
  proxy.seen.length = 0;
  assert.deepEqual(await unseal(message, [arn('eu-west-1')]), plaintext, 'another region stands in');
  assert.equal(regions('Decrypt').at(-1), 'us-east-1');
});

test('the replica in the own region is tried even where nobody named it', async () => {
  const { arn } = await multiRegionKey('us-east-1', 'eu-west-1');
  const message = await seal([arn('us-east-1')]);
  proxy.seen.length = 0;
  assert.deepEqual(await unseal(message, [arn('us-east-1')]), plaintext);
  assert.deepEqual(regions('Decrypt'), ['eu-west-1']);
});

test('a replica that was only guessed does not hide the real reason', async () => {
  const { arn, rule } = await multiRegionKey('us-east-1');
  const message = await seal([arn('us-east-1')]);
  proxy.seen.length = 0;
  assert.deepEqual(await unseal(message, [arn('us-east-1')]), plaintext);
  assert.deepEqual(regions('Decrypt'), ['eu-west-1', 'us-east-1']);

  proxy.rules = [
    (r) => (r.region === 'us-east-1' ? { kind: 'error', status: 400, code: 'DisabledException' } : undefined),
    (r) =>
      r.region === 'eu-west-1' ? { kind: 'error', status: 400, code: 'AccessDeniedException' } : undefined,
    rule,
  ];
  await assert.rejects(unseal(message, [arn('us-east-1')]), failsWith('key-disabled', /us-east-1/));
});

test('a region that stalls costs a short wait, then the next is asked', async () => {
  const far = await createKey(moto.url, { region: 'us-east-1' });
  const message = await seal([keyArn, far]);
  proxy.rules = [(r) => (r.region === 'eu-west-1' ? { kind: 'stall' } : undefined)];
  const started = performance.now();
  assert.deepEqual(await unseal(message, [keyArn, far]), plaintext);
  assert.ok(performance.now() - started < 7_500);
});

const FAULTS: readonly [string, number, ErrorCode, RegExp][] = [
  ['AccessDeniedException', 400, 'key-denied', /grant kms:Decrypt on "arn:aws:kms:eu-west-1/],
  ['NotFoundException', 400, 'key-not-found', /no such key/],
  ['DisabledException', 400, 'key-disabled', /enable-key/],
  ['KMSInvalidStateException', 400, 'key-state', /cancel-key-deletion/],
  ['IncorrectKeyException', 400, 'data-key-refused', /encryption context/],
  ['InvalidCiphertextException', 400, 'data-key-refused', /encryption context/],
  ['InvalidKeyUsageException', 400, 'key-invalid', /symmetric/],
  ['ThrottlingException', 400, 'key-throttled', /whole account/],
  ['LimitExceededException', 400, 'key-throttled', /whole account/],
  ['KMSInternalException', 500, 'key-unreachable', /500/],
  ['DependencyTimeoutException', 503, 'key-unreachable', /503/],
  ['ExpiredTokenException', 400, 'credentials-expired', /sso login/],
  ['UnrecognizedClientException', 400, 'credentials-invalid', /get-caller-identity/],
  ['InvalidSignatureException', 400, 'credentials-invalid', /get-caller-identity/],
  ['SomethingNew', 400, 'key-invalid', /SomethingNew/],
];
for (const [code, status, expected, text] of FAULTS) {
  test(`decrypt() of the library passes on our ${expected} when KMS answers ${code}`, async () => {
    const message = await seal([keyArn]);
    proxy.rules = [() => ({ kind: 'error', status, code })];
    await assert.rejects(unseal(message, [keyArn]), failsWith(expected, text));
  });
}

test('a key that is to be deleted, and a clock that is wrong, are told from their likes by what KMS says', async () => {
  const message = await seal([keyArn]);
  const says = (code: string, text: string) => () => ({
    kind: 'answer' as const,
    status: 400,
    headers: { 'content-type': 'application/x-amz-json-1.1' },
    body: JSON.stringify({ __type: code, message: text }),
  });
  proxy.rules = [says('KMSInvalidStateException', `${keyArn} is pending deletion.`)];
  await assert.rejects(unseal(message, [keyArn]), failsWith('key-pending-deletion', /cancel-key-deletion/));
  for (const text of [
    'Signature expired: 1 is now earlier than 2',
    'Signature not yet current: 3 is still later',
  ]) {
    proxy.rules = [says('InvalidSignatureException', text)];
    await assert.rejects(unseal(message, [keyArn]), failsWith('clock-skewed', /timedatectl/));
  }
});

test('an error while wrapping names the action that was missing', async () => {
  proxy.rules = [() => ({ kind: 'error', status: 400, code: 'AccessDeniedException' })];
  await assert.rejects(seal([keyArn]), failsWith('key-denied', /kms:GenerateDataKey/));
});

test('a connection that is reset is key-unreachable, and so is a server that is not there', async () => {
  const message = await seal([keyArn]);
  proxy.rules = [() => ({ kind: 'reset' })];
  await assert.rejects(unseal(message, [keyArn]), failsWith('key-unreachable', /ECONNRESET/));
  const undo = replaceEnv(awsEnv('http://127.0.0.1:1'));
  try {
    aws.destroy();
    aws = new AwsAccess({ env: process.env });
    await assert.rejects(unseal(message, [keyArn]), failsWith('key-unreachable', /ECONNREFUSED/));
  } finally {
    undo();
  }
});

test('of many calls the first goes through the SDK, and the others past it with the same result, or again through it', async () => {
  const viaSdk = (operation: string) =>
    proxy.seen
      .filter((seen) => seen.operation === operation)
      .map(({ headers }) => headers['amz-sdk-request'] !== undefined);
  const messages = [await seal([keyArn]), await seal([keyArn])];
  for (const message of messages) assert.deepEqual(await unseal(message, [keyArn]), plaintext);
  assert.deepEqual(
    [viaSdk('GenerateDataKey'), viaSdk('Decrypt')],
    [
      [true, false],
      [true, false],
    ],
  );
  const faults: Fault[] = [
    { kind: 'spoil', how: 'cut', part: 0.5 },
    { kind: 'answer', status: 200, headers: {}, body: 'no JSON' },
    { kind: 'error', status: 400, code: 'ThrottlingException' },
    { kind: 'reset' },
  ];
  for (const fault of faults) {
    proxy.rules = [({ headers }) => (headers['amz-sdk-request'] === undefined ? fault : undefined)];
    for (let i = 0; i < 2; i++) assert.deepEqual(await unseal(await seal([keyArn]), [keyArn]), plaintext);
  }
});

test('an answer about another key is refused', async () => {
  const message = await seal([keyArn]);
  const body = JSON.stringify({
    KeyId: keyArn.replace(/.$/, 'x'),
    Plaintext: randomBytes(32).toString('base64'),
  });
  proxy.rules = [
    () => ({ kind: 'answer', status: 200, headers: { 'content-type': 'application/x-amz-json-1.1' }, body }),
  ];
  await assert.rejects(unseal(message, [keyArn]), failsWith('key-invalid', /another|about the key/));
});

test('a data key of another length is refused', async () => {
  const message = await seal([keyArn]);
  const body = JSON.stringify({ KeyId: keyArn, Plaintext: randomBytes(16).toString('base64') });
  proxy.rules = [
    () => ({ kind: 'answer', status: 200, headers: { 'content-type': 'application/x-amz-json-1.1' }, body }),
  ];
  await assert.rejects(unseal(message, [keyArn]), failsWith('key-invalid', /16 bytes/));
});

test('a data key that was wrapped for another bundle is refused', async () => {
  const one = await seal([keyArn]);
  const other = new KmsSwap(await openUnwrapping([keyArn], aws).then(({ keyring }) => keyring), keyArn);
  await assert.rejects(decrypt(other, one), failsWith('data-key-refused'));
});

/** Gives the keyring under test a wrapped data key that another encryption context belongs to. */
class KmsSwap extends KeyringNode {
  readonly #inner: KeyringNode;
  readonly #keyArn: string;
  constructor(inner: KeyringNode, arn: string) {
    super();
    this.#inner = inner;
    this.#keyArn = arn;
  }
  override async _onEncrypt(): Promise<never> {
    throw new Error('only unwraps');
  }
  override async _onDecrypt(material: NodeDecryptionMaterial): Promise<NodeDecryptionMaterial> {
    const kms = motoKms(moto.url);
    const { CiphertextBlob } = await kms.send(
      new GenerateDataKeyCommand({ KeyId: this.#keyArn, NumberOfBytes: 32, EncryptionContext: { a: 'b' } }),
    );
    const edk = new EncryptedDataKey({
      providerId: 'aws-kms',
      providerInfo: this.#keyArn,
      encryptedDataKey: CiphertextBlob ?? new Uint8Array(),
    });
    return this.#inner.onDecrypt(material, [edk]);
  }
}

test('no region for a bare id is a config error with a hint', async () => {
  const env = awsEnv(proxy.url);
  delete env['AWS_REGION'];
  const undo = replaceEnv(env);
  try {
    aws.destroy();
    aws = new AwsAccess({ env: process.env });
    await assert.rejects(seal([keyArn.split('/')[1] ?? '']), failsWith('region-missing', /--region/));
    assert.deepEqual(await unseal(await seal([keyArn]), [keyArn]), plaintext, 'an ARN is region enough');
  } finally {
    undo();
  }
});

test('no credentials is a config error with a hint, also through the library', async () => {
  const message = await seal([keyArn]);
  const env = awsEnv(proxy.url);
  delete env['AWS_ACCESS_KEY_ID'];
  const undo = replaceEnv(env);
  try {
    aws.destroy();
    aws = new AwsAccess({ env: process.env });
    await assert.rejects(unseal(message, [keyArn]), (error: unknown) => {
      assert.equal((error as ConfigError).code, 'credentials-missing');
      assert.match((error as ConfigError).hint ?? '', /AWS_ACCESS_KEY_ID/);
      return true;
    });
  } finally {
    undo();
  }
});
