/** Whatever a person or the service can get wrong: the commands say what, and what to do. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type FaultProxy, type Rule, startFaultProxy } from '../support/fault-proxy.ts';
import { awsEnv, type Moto, startMoto } from '../support/moto.ts';
import { refused, storeBench, typed } from '../support/stores.ts';

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

test('what a person gets wrong is said in one message, with what to do', async (t) => {
  const store = await storeBench(t, moto);
  const { bucket, keyArn } = store;
  await typed(
    store,
    'echo x | secretsfs put a; echo y | secretsfs put b/a; printf "\\0" | secretsfs upload - nul',
  );
  await typed(
    store,
    "printf '\\377' | secretsfs upload - latin1; head -c 140000 /dev/zero | tr '\\0' x | secretsfs put long",
  );
  await typed(store, `secretsfs pack --tar - bundle --key ${keyArn} < <(tar c -T /dev/null)`);
  await typed(store, `aws s3 cp bundle s3://${bucket}/prod/web.enc.tar`);
  const cases: [string, string, RegExp][] = [
    // Places.
    ['secretsfs get nope', 'source-not-found', /secretsfs ls.*secretsfs history nope/],
    ["secretsfs get 'a; b'", 'source-not-found', /secretsfs history 'a; b' shows/],
    ["secretsfs restore 'a; b' --version x", 'source-not-found', /secretsfs history 'a; b' shows/],
    ['secretsfs ls --store /etc/passwd', 'source-invalid', /"\/etc\/passwd" is not a directory/],
    ['secretsfs get ../a', 'usage', /a part that is \. or \.\./],
    ['secretsfs upload /etc/hostname a/../../b', 'usage', /\.\./],
    ['secretsfs get ""', 'usage', /is empty/],
    ['secretsfs get', 'usage', /no PATH given/],
    ['secretsfs upload a', 'usage', /no PATH given/],
    ['S3_PATH= secretsfs get a', 'usage', /--store/],
    ['S3_PATH=s3://no-such-bucket-here/x secretsfs get a', 'source-not-found', /bucket/],
    ['secretsfs get a --store no-such-directory', 'source-not-found', /./],
    // Contents.
    ['secretsfs upload no-such-file a', 'source-not-found', /FILE PATH/],
    ['secretsfs upload . a', 'source-invalid', /".": it is a directory.*secretsfs sync DIR PREFIX/s],
    [': | secretsfs put a', 'usage', /--allow-empty/],
    [': | secretsfs upload - a', 'usage', /--allow-empty/],
    ['secretsfs put a < /dev/null', 'usage', /no terminal.*upload FILE PATH/s],
    [
      'truncate -s 200M big && secretsfs upload big a',
      'source-too-large',
      /"big": it is over 64.0 MiB.*pack/s,
    ],
    ['secretsfs put a < big', 'source-too-large', /over 64.0 MiB.*pack takes more/s],
    ['head -c 200M /dev/zero | secretsfs upload - a', 'source-too-large', /64.0 MiB.*pack takes more/s],
    ['echo x | secretsfs put web.enc.tar', 'output-exists', /it is a bundle.*--force/s],
    ['secretsfs get web.enc.tar', 'bundle-format', /it is a bundle.*unpack/s],
    ['touch there && secretsfs download a there', 'output-exists', /--force/],
    ['secretsfs download b/a .', 'output-exists', /"." is a directory.*name the file: \.\/a/s],
    ['mkdir -p d; secretsfs download b/a d --force', 'output-exists', /name the file: d\/a/],
    [
      'echo junk > junk; secretsfs decrypt junk -',
      'data-key-refused',
      /cannot decrypt "junk": .*, or is no ciphertext at all/s,
    ],
    ['secretsfs download a no/such/dir/file', 'output-failed', /mkdir -p/],
    // Directories.
    ['secretsfs sync big x', 'usage', /"big": it is a file.*secretsfs upload/s],
    ['secretsfs sync . /', 'usage', /is empty.*sync needs a prefix/s],
    ['secretsfs sync no-such-directory x', 'source-not-found', /name a directory that there is/],
    ['mkdir fifo; mkfifo fifo/p; secretsfs sync fifo x', 'source-invalid', /cannot read "fifo\/p"/],
    ['mkdir none; secretsfs sync none b --delete', 'usage', /no files.*below "b".*--force/s],
    // Keys.
    ['echo x | KMS_KEY_ID= secretsfs put a', 'usage', /KMS_KEY_ID/],
    ['echo x | KMS_KEY_ID=alias/nobody secretsfs put a', 'key-not-found', /account, the region/],
    [`echo x | secretsfs put a --key ${keyArn.replace('eu-west-1', 'us-east-1')}`, 'key-not-found', /region/],
    ['echo x | secretsfs put a --context secretsfs-path=x', 'usage', /reserved/],
    // exec.
    ["secretsfs exec 'nope*' -- true", 'source-not-found', /secretsfs ls/],
    ["secretsfs exec '**'", 'usage', /no program/],
    ['secretsfs exec -- true', 'usage', /no secret/],
    ["secretsfs exec a 'b/*' -- true", 'usage', /as the variable A.*has that name too/],
    ['secretsfs exec 1a=b/a -- true', 'usage', /"1a" can't be a variable's name/],
    ['secretsfs exec nul -- true', 'usage', /NUL byte.*download/s],
    ['secretsfs exec latin1 -- true', 'usage', /UTF-8/],
    ['secretsfs exec long -- true', 'usage', /140000 bytes/],
    ['A=1 secretsfs exec a -- true', 'usage', /set already.*--overwrite/s],
    ['secretsfs exec a -- no-such-program', 'usage', /no such program/],
    ['touch plain && secretsfs exec a -- ./plain', 'usage', /may not be executed/],
    ['secretsfs exec LD_PRELOAD=a, -- true', 'usage', /one secret/],
  ];
  for (const [line, code, words] of cases) await refused(store, line, code, words);
  assert.equal(await typed(store, 'secretsfs get a'), 'x', 'none of it changed what was there');
});

test('what the service refuses is said in one message, with what to do, and nothing is written', async (t) => {
  const { AWS_ENDPOINT_URL } = awsEnv(proxy.url);
  const store = await storeBench(t, moto, { env: { AWS_ENDPOINT_URL } });
  t.after(() => {
    proxy.rules = [];
  });
  await typed(store, 'echo x | secretsfs put a');
  const kms =
    (code: string, text = code): Rule =>
    ({ operation }) =>
      operation === undefined
        ? undefined
        : {
            kind: 'answer',
            status: 400,
            headers: { 'content-type': 'application/x-amz-json-1.1' },
            body: JSON.stringify({ __type: code, message: text }),
          };
  const s3 =
    (method: string, status: number, code: string): Rule =>
    (request) =>
      request.operation === undefined && request.method === method
        ? { kind: 'error', status, code }
        : undefined;
  const PUT = 'echo y | secretsfs put a';
  const GET = 'secretsfs get a';
  const cases: [string, Rule, string, RegExp][] = [
    [PUT, kms('AccessDeniedException'), 'key-denied', /grant kms:GenerateDataKey on "arn:/],
    [GET, kms('AccessDeniedException'), 'key-denied', /grant kms:Decrypt on "arn:/],
    [
      `KMS_KEY_ID= ${GET}`,
      kms('NotFoundException'),
      'key-not-accepted',
      /of the account.*--accept-key arn:/s,
    ],
    [GET, kms('DisabledException'), 'key-disabled', /enable-key/],
    [
      GET,
      kms('KMSInvalidStateException', 'it is pending deletion'),
      'key-pending-deletion',
      /cancel-key-deletion/,
    ],
    [
      PUT,
      kms('KMSInvalidStateException', 'it is pending deletion'),
      'key-pending-deletion',
      /cancel-key-deletion/,
    ],
    [GET, kms('ExpiredTokenException'), 'credentials-expired', /sso login/],
    [PUT, s3('GET', 403, 'ExpiredToken'), 'credentials-expired', /sso login/],
    [PUT, s3('GET', 403, 'AccessDenied'), 'source-denied', /s3:GetObject/],
    [PUT, s3('PUT', 403, 'AccessDenied'), 'output-denied', /s3:PutObject/],
    [GET, s3('GET', 404, 'NoSuchBucket'), 'source-not-found', /bucket/],
    [PUT, s3('PUT', 412, 'PreconditionFailed'), 'output-changed', /run the command again/],
    [PUT, s3('PUT', 409, 'ConditionalRequestConflict'), 'output-changed', /run the command again/],
  ];
  for (const [line, rule, code, words] of cases) {
    proxy.rules = [rule];
    await refused(store, line, code, words);
  }
  proxy.rules = [];
  assert.equal(await typed(store, GET), 'x');
});
