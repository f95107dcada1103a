/** "If the aws command works, this works": each in a process of its own, as the SDK reads its environment once. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, suite, test } from 'node:test';
import tls from 'node:tls';
import { promisify } from 'node:util';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { canaryPassword, startForwardProxy } from '../support/forward-proxy.ts';
import { awsEnv, createBucket, createKey, type Moto, motoS3, startMoto } from '../support/moto.ts';
import { REPOSITORY } from '../support/paths.ts';

const CHILD = path.join(REPOSITORY, 'build/test/support/aws-child.js');
const ROLE = 'arn:aws:iam::123456789012:role/reader';

let moto: Moto;
let proxy: FaultProxy;
let dir: string;
let object: string;
let keyArn: string;

before(async () => {
  moto = await startMoto();
  proxy = await startFaultProxy(moto.url);
  dir = await mkdtemp(path.join(tmpdir(), 'aws-access-'));
  keyArn = await createKey(moto.url);
  const bucket = await createBucket(moto.url);
  const client = motoS3(moto.url);
  await client.send(new PutObjectCommand({ Bucket: bucket, Key: 'k', Body: 'content' }));
  client.destroy();
  object = `s3://${bucket}/k`;
});
beforeEach(() => {
  proxy.rules = [];
  proxy.seen.length = 0;
});
after(async () => {
  await proxy?.close();
  await moto?.stop();
  if (dir) await rm(dir, { recursive: true });
});

interface Answer {
  answer?: unknown;
  error?: string;
  message?: string;
  hint?: string;
}
/** Asks, and insists that the SDK wrote nothing to the terminal. */
async function ask(
  env: NodeJS.ProcessEnv,
  question: string,
  argument = '',
  options: Record<string, unknown> = {},
): Promise<Answer> {
  const args = [CHILD, JSON.stringify({ forcePathStyle: true, ...options }), question, argument];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { env, timeout: 60_000 });
  assert.equal(stderr, '');
  return JSON.parse(stdout) as Answer;
}
/** awsEnv without some variables. */
function envWithout(names: string[], more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const env = awsEnv(proxy.url);
  for (const name of names) delete env[name];
  return { ...env, ...more };
}
const KEYS = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'];
async function configFile(text: string): Promise<string> {
  const file = path.join(dir, `config-${Math.random().toString(36).slice(2)}`);
  await writeFile(file, text);
  return file;
}

test('nothing of the SDK is loaded before a client is asked for', async () => {
  assert.deepEqual(await ask(awsEnv(proxy.url), 'nothing'), { answer: 0 });
});

suite('region', () => {
  test('comes from --region, AWS_REGION, AWS_DEFAULT_REGION, the profile, the instance, in this order', async () => {
    const config = await configFile('[default]\nregion = eu-north-1\n[profile far]\nregion = sa-east-1\n');
    const none = envWithout(['AWS_REGION']);
    const all = {
      ...none,
      AWS_REGION: 'eu-west-2',
      AWS_DEFAULT_REGION: 'eu-west-3',
      AWS_CONFIG_FILE: config,
      AWS_EC2_METADATA_DISABLED: 'false',
    };
    const without = (...names: string[]): NodeJS.ProcessEnv =>
      Object.fromEntries(Object.entries(all).filter(([name]) => !names.includes(name)));
    const region = async (env: NodeJS.ProcessEnv, options = {}): Promise<unknown> =>
      (await ask(env, 'region', '', options)).answer;

    assert.equal(await region(all, { region: 'ca-central-1' }), 'ca-central-1');
    assert.equal(await region(all), 'eu-west-2');
    assert.equal(await region(without('AWS_REGION')), 'eu-west-3');
    assert.equal(await region(without('AWS_REGION', 'AWS_DEFAULT_REGION')), 'eu-north-1');
    assert.equal(await region(without('AWS_REGION', 'AWS_DEFAULT_REGION'), { profile: 'far' }), 'sa-east-1');
    const instance = { ...none, AWS_EC2_METADATA_DISABLED: 'false' };
    assert.equal(await region(instance), 'us-east-1', "moto's instance is there");
    assert.equal(await region(none), null);
  });

  test('is not needed for S3', async () => {
    const answer = await ask(envWithout(['AWS_REGION']), 'fetch', object);
    assert.equal(answer.answer, 'content');
    assert.equal(proxy.seen.at(-1)?.region, 'us-east-1');
    await ask(envWithout(['AWS_REGION']), 'fetch', object, { likelyRegion: 'cn-north-1' });
    assert.equal(proxy.seen.at(-1)?.region, 'cn-north-1');
  });
});

suite('endpoints', () => {
  const real = (more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => envWithout(['AWS_ENDPOINT_URL'], more);

  test("follow the partition of the key's region, FIPS and dual-stack", async () => {
    for (const [region, env, url] of [
      ['eu-west-1', {}, 'https://kms.eu-west-1.amazonaws.com/'],
      ['cn-north-1', {}, 'https://kms.cn-north-1.amazonaws.com.cn/'],
      ['us-gov-west-1', {}, 'https://kms.us-gov-west-1.amazonaws.com/'],
      ['us-east-1', { AWS_USE_FIPS_ENDPOINT: 'true' }, 'https://kms-fips.us-east-1.amazonaws.com/'],
      ['us-east-1', { AWS_USE_DUALSTACK_ENDPOINT: 'true' }, 'https://kms.us-east-1.api.aws/'],
    ] as const) {
      assert.equal((await ask(real(env), 'endpoint', region)).answer, url);
    }
    const config = await configFile('[profile fips]\nuse_fips_endpoint = true\n');
    const { answer } = await ask(real({ AWS_CONFIG_FILE: config }), 'endpoint', 'us-east-1', {
      profile: 'fips',
    });
    assert.equal(answer, 'https://kms-fips.us-east-1.amazonaws.com/');
  });

  test('of one service go before that of all, and a profile may name them', async () => {
    const dead = 'http://127.0.0.1:1';
    const service = real({ AWS_ENDPOINT_URL: dead, AWS_ENDPOINT_URL_S3: proxy.url });
    assert.equal((await ask(service, 'fetch', object)).answer, 'content');
    assert.equal((await ask(service, 'key', keyArn)).error, 'bug', 'DescribeKey is not one that is mapped');

    const config = await configFile(
      `[profile a]\nendpoint_url = ${proxy.url}\n[profile b]\nendpoint_url = ${dead}\nservices = x\n[services x]\ns3 =\n  endpoint_url = ${proxy.url}\n`,
    );
    for (const profile of ['a', 'b']) {
      // Keys of the environment do not count beside --profile.
      const credentials = path.join(dir, 'credentials');
      await writeFile(credentials, `[${profile}]\naws_access_key_id = AKP\naws_secret_access_key = s\n`);
      const env = real({ AWS_CONFIG_FILE: config, AWS_SHARED_CREDENTIALS_FILE: credentials });
      assert.equal((await ask(env, 'fetch', object, { profile })).answer, 'content', profile);
    }
  });
});

test('settings that cannot be meant are config-invalid, not a crash of the SDK', async () => {
  const config = await configFile('[default]\nendpoint_url = x\n');
  for (const more of [
    { AWS_ENDPOINT_URL: 'nonsense' },
    { AWS_ENDPOINT_URL_S3: 'http://' },
    { AWS_REGION: 'no_such_region!' },
    { AWS_CONFIG_FILE: config },
    { AWS_USE_FIPS_ENDPOINT: 'true' },
  ]) {
    const answer = await ask(awsEnv(proxy.url, more), 'fetch', object);
    assert.equal(answer.error, 'config-invalid', JSON.stringify(more));
    assert.notEqual(answer.hint, undefined);
  }
});

suite('credentials', () => {
  const files = async (): Promise<NodeJS.ProcessEnv> => {
    const script = path.join(dir, 'process.sh');
    await writeFile(
      script,
      '#!/bin/sh\necho \'{"Version":1,"AccessKeyId":"AKPROCESS","SecretAccessKey":"s","SessionToken":"t"}\'\n',
    );
    await chmod(script, 0o755);
    const broken = path.join(dir, 'broken.sh');
    await writeFile(broken, '#!/bin/sh\necho "canary-of-a-secret" >&2\nexit 3\n');
    await chmod(broken, 0o755);
    const token = path.join(dir, 'token');
    await writeFile(token, 'a.web.token');
    const credentials = path.join(dir, 'credentials-all');
    await writeFile(
      credentials,
      '[default]\naws_access_key_id = AKDEFAULT\naws_secret_access_key = s\n[two]\naws_access_key_id = AKTWO\naws_secret_access_key = s\n',
    );
    const config = await configFile(
      [
        `[profile process]\ncredential_process = ${script}`,
        `[profile broken]\ncredential_process = ${broken}`,
        `[profile role]\nrole_arn = ${ROLE}\nsource_profile = two\nexternal_id = from-profile`,
        `[profile web]\nrole_arn = ${ROLE}\nweb_identity_token_file = ${token}`,
        '[profile sso]\nsso_start_url = https://x.awsapps.com/start\nsso_region = eu-west-1\nsso_account_id = 123456789012\nsso_role_name = r',
      ].join('\n'),
    );
    return { AWS_CONFIG_FILE: config, AWS_SHARED_CREDENTIALS_FILE: credentials };
  };
  const identity = async (answer: Answer): Promise<{ accessKeyId: string; session: boolean }> => {
    assert.equal(answer.error, undefined, JSON.stringify(answer));
    return answer.answer as { accessKeyId: string; session: boolean };
  };

  test('come from the environment before AWS_PROFILE, and from --profile before both', async () => {
    const env = awsEnv(proxy.url, await files());
    assert.equal((await identity(await ask(env, 'identity'))).accessKeyId, 'testing');
    const both = { ...env, AWS_PROFILE: 'two' };
    assert.equal((await identity(await ask(both, 'identity'))).accessKeyId, 'testing');
    assert.equal(
      (await identity(await ask(both, 'identity', '', { profile: 'default' }))).accessKeyId,
      'AKDEFAULT',
    );
    const profile = envWithout(KEYS, { ...(await files()), AWS_PROFILE: 'two' });
    assert.equal((await identity(await ask(profile, 'identity'))).accessKeyId, 'AKTWO');
    const older = envWithout(KEYS, { ...(await files()), AWS_DEFAULT_PROFILE: 'two' });
    assert.equal((await identity(await ask(older, 'identity'))).accessKeyId, 'AKTWO');
    const plain = envWithout(KEYS, await files());
    assert.equal((await identity(await ask(plain, 'identity'))).accessKeyId, 'AKDEFAULT');
  });

  test('come from a process, a role of a profile and a web identity', async () => {
    const env = envWithout(KEYS, await files());
    assert.equal(
      (await identity(await ask(env, 'identity', '', { profile: 'process' }))).accessKeyId,
      'AKPROCESS',
    );
    for (const profile of ['role', 'web']) {
      proxy.seen.length = 0;
      const { accessKeyId, session } = await identity(await ask(env, 'identity', '', { profile }));
      assert.match(accessKeyId, /^ASIA/);
      assert.equal(session, true);
      assert.match(
        String(proxy.seen[0]?.body),
        profile === 'role' ? /ExternalId=from-profile/ : /a\.web\.token/,
      );
    }
  });

  test('come from the instance, which no proxy is asked for', async () => {
    const env = envWithout(KEYS, {
      AWS_EC2_METADATA_DISABLED: 'false',
      HTTP_PROXY: 'http://127.0.0.1:1',
      HTTPS_PROXY: 'http://127.0.0.1:1',
    });
    delete env['AWS_REGION'];
    assert.equal((await identity(await ask(env, 'identity'))).accessKeyId, 'test-key');
    assert.equal((await ask(env, 'region')).answer, 'us-east-1');
  });

  test('--role-arn assumes the role with its external id, signed by what was found', async () => {
    const options = { roleArn: ROLE, externalId: 'ext-1' };
    const { accessKeyId } = await identity(await ask(awsEnv(proxy.url), 'identity', '', options));
    assert.match(accessKeyId, /^ASIA/);
    const [request] = proxy.seen;
    assert.match(String(request?.body), /Action=AssumeRole.*ExternalId=ext-1/);
    assert.match(String(request?.headers.authorization), /Credential=testing\//);
    assert.equal(request?.region, 'eu-west-1');
  });

  test('--role-arn goes on top of --profile', async () => {
    const env = envWithout(KEYS, await files());
    await identity(await ask(env, 'identity', '', { roleArn: ROLE, profile: 'two' }));
    assert.match(String(proxy.seen[0]?.headers.authorization), /Credential=AKTWO\//);
  });

  const expectError = async (
    env: NodeJS.ProcessEnv,
    code: string,
    text: RegExp,
    options: Record<string, unknown> = {},
  ): Promise<void> => {
    for (const [question, argument] of [
      ['identity', ''],
      ['fetch', object],
    ] as const) {
      const answer = await ask(env, question, argument, options);
      assert.equal(answer.error, code, JSON.stringify(answer));
      assert.match(`${answer.message}\n${answer.hint}`, text);
      assert.doesNotMatch(JSON.stringify(answer), /canary/);
    }
  };

  test('that are missing are an error with a hint', async () => {
    await expectError(envWithout(KEYS), 'credentials-missing', /none were found[\s\S]*AWS_ACCESS_KEY_ID/);
    await expectError(
      envWithout(KEYS, await files()),
      'credentials-missing',
      /no profile "nope" in ".*config-.*list-profiles/s,
      {
        profile: 'nope',
      },
    );
  });

  test('of a process that fails are an error that repeats nothing of its output', async () => {
    await expectError(envWithout(KEYS, await files()), 'credentials-invalid', /profile "broken"/, {
      profile: 'broken',
    });
  });

  test('of an SSO session that has expired say how to sign in', async () => {
    const env = envWithout(KEYS, { ...(await files()), HOME: dir });
    await expectError(env, 'credentials-expired', /aws sso login --profile sso/, { profile: 'sso' });
  });

  test('of a role that may not be assumed name the role', async () => {
    proxy.rules = [
      (r) =>
        /AssumeRole/.test(String(r.body))
          ? {
              kind: 'answer',
              status: 403,
              headers: { 'content-type': 'text/xml' },
              body: '<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>',
            }
          : undefined,
    ];
    await expectError(awsEnv(proxy.url), 'credentials-invalid', /role\/reader[\s\S]*sts:AssumeRole/, {
      roleArn: ROLE,
    });
  });

  test('are asked for once, however many clients there are', async () => {
    await identity(await ask(awsEnv(proxy.url), 'identity', '', { roleArn: ROLE }));
    assert.equal(proxy.seen.filter((r) => /AssumeRole/.test(String(r.body))).length, 1);
  });
});

suite('proxy and CA', () => {
  let ca: string;
  let terminator: tls.Server;
  let tlsPort: number;
  before(async () => {
    ca = path.join(dir, 'ca.pem');
    const key = path.join(dir, 'ca.key');
    await promisify(execFile)('openssl', [
      ...[
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:prime256v1',
        '-nodes',
        '-days',
        '2',
      ],
      ...['-subj', '/CN=test', '-addext', 'subjectAltName=DNS:localhost'],
      ...['-keyout', key, '-out', ca],
    ]);
    const upstream = Number(new URL(proxy.url).port);
    terminator = tls.createServer({ cert: await readFile(ca), key: await readFile(key) }, (socket) => {
      const onward = connect(upstream, '127.0.0.1');
      socket.pipe(onward).pipe(socket);
      socket.on('error', () => onward.destroy());
      onward.on('error', () => socket.destroy());
    });
    terminator.on('tlsClientError', () => {});
    await new Promise<void>((resolve) => terminator.listen(0, '127.0.0.1', resolve));
    tlsPort = (terminator.address() as { port: number }).port;
  });
  after(() => {
    terminator?.close();
  });
  const secure = (host: string, more: NodeJS.ProcessEnv): NodeJS.ProcessEnv => ({
    ...awsEnv(`https://${host}:${tlsPort}`),
    ...more,
  });

  test('a server of a private CA is trusted with AWS_CA_BUNDLE or ca_bundle only', async () => {
    assert.equal((await ask(secure('localhost', { AWS_CA_BUNDLE: ca }), 'fetch', object)).answer, 'content');
    const config = await configFile(`[default]\nca_bundle = ${ca}\n`);
    assert.equal(
      (await ask(secure('localhost', { AWS_CONFIG_FILE: config }), 'fetch', object)).answer,
      'content',
    );
    const untrusted = await ask(secure('localhost', {}), 'fetch', object);
    assert.equal(untrusted.error, 'source-unreachable');
    assert.match(`${untrusted.message}${untrusted.hint}`, /not trusted.*AWS_CA_BUNDLE/);
  });

  test('a CA bundle that is missing, or none, is config-unreadable', async () => {
    const empty = path.join(dir, 'empty.pem');
    await writeFile(empty, 'nothing');
    const broken = path.join(dir, 'broken.pem');
    await writeFile(broken, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
    for (const file of [path.join(dir, 'missing.pem'), empty, broken, dir]) {
      const answer = await ask(awsEnv(proxy.url, { AWS_CA_BUNDLE: file }), 'fetch', object);
      assert.equal(answer.error, 'config-unreadable', file);
      assert.match(answer.hint ?? '', /AWS_CA_BUNDLE/);
    }
  });

  test('https goes through HTTPS_PROXY with its user, S3 and STS alike, and the password is never shown', async () => {
    const password = canaryPassword();
    const forward = await startForwardProxy(tlsPort, { name: 'us er', password });
    try {
      const url = (pass: string): string => `http://us%20er:${pass}@127.0.0.1:${forward.port}`;
      // moto takes a host of another name for a bucket. Nothing listens on port 9: only the proxy leads on.
      const env = { ...awsEnv('https://localhost:9'), AWS_CA_BUNDLE: ca, HTTPS_PROXY: url(password) };
      assert.deepEqual(await ask(env, 'fetch', object, { roleArn: ROLE }), { answer: 'content' });
      assert.ok(forward.seen.length >= 2 && forward.seen.every((line) => line === 'CONNECT localhost:9'));

      const denied = await ask({ ...env, HTTPS_PROXY: url(`${password}x`) }, 'fetch', object);
      assert.equal(denied.error, 'source-unreachable');
      assert.match(`${denied.message} ${denied.hint}`, /407.*PASSWORD/);
      assert.doesNotMatch(JSON.stringify(denied), new RegExp(password));

      const gone = await ask({ ...env, HTTPS_PROXY: `http://u:${password}@127.0.0.1:1` }, 'fetch', object);
      assert.equal(gone.error, 'source-unreachable');
      assert.doesNotMatch(JSON.stringify(gone), new RegExp(password));

      const bad = await ask({ ...env, HTTPS_PROXY: `http://u:${password}@:x:y` }, 'fetch', object);
      assert.equal(bad.error, 'config-invalid');
      assert.doesNotMatch(JSON.stringify(bad), new RegExp(password));
    } finally {
      await forward.close();
    }
  });

  test('a proxy that never answers a CONNECT is given up', async () => {
    const silent = createServer((socket) => socket.on('error', () => {}).resume());
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as { port: number };
    try {
      const started = performance.now();
      const more = { AWS_CA_BUNDLE: ca, https_proxy: `127.0.0.1:${port}` };
      const answer = await ask(secure('localhost', more), 'fetch', object);
      assert.equal(answer.error, 'source-unreachable');
      assert.match(answer.message ?? '', /the proxy did not answer in time/);
      assert.ok(performance.now() - started < 15_000);
    } finally {
      silent.close();
    }
  });

  test('NO_PROXY keeps hosts off the proxy', async () => {
    const env = secure('localhost', {
      AWS_CA_BUNDLE: ca,
      https_proxy: 'http://127.0.0.1:1',
      no_proxy: 'x.y, localhost',
    });
    assert.equal((await ask(env, 'fetch', object)).answer, 'content');
  });

  test('plain http goes to HTTP_PROXY with the whole URL', async () => {
    const password = canaryPassword();
    const forward = await startForwardProxy(Number(new URL(proxy.url).port), { name: 'u', password });
    try {
      const env = {
        ...awsEnv('http://localhost:9'),
        HTTP_PROXY: `http://u:${password}@127.0.0.1:${forward.port}`,
      };
      assert.deepEqual(await ask(env, 'fetch', object), { answer: 'content' });
      assert.match(forward.seen[0] ?? '', /^GET http:\/\/localhost:9\//);
    } finally {
      await forward.close();
    }
  });
});
