/**
 * The commands of docs/ are run as they stand there, against the AWS protocol; what a reader has, and puts in place of an
 * example's names, stands here beside the command that needs it. (README.md: readme.test.ts.)
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { CreateAliasCommand, GenerateDataKeyCommand } from '@aws-sdk/client-kms';
import { CreateBucketCommand, PutBucketVersioningCommand } from '@aws-sdk/client-s3';
import { writeArchive } from '../../src/bundle/archive.ts';
import { sealSneaker } from '../../src/bundle/sneaker.ts';
import { blocksOf } from '../support/documents.ts';
import { file } from '../support/entries.ts';
import { follow } from '../support/follow.ts';
import { awsEnv, createKey, type Moto, motoKms, motoS3, startMoto } from '../support/moto.ts';
import { REPOSITORY } from '../support/paths.ts';
import { Bench, must } from '../support/program.ts';
import { type Step, stepsOf } from '../support/steps.ts';

/** Its own, so that names can be those of the documents. */
let moto: Moto;
before(async () => {
  moto = await startMoto({ own: true });
});
after(() => moto?.stop());

/** Puts what is typed where a person would: twice, at a terminal. */
const TYPED = `
import os, pty, sys
typed = iter([b"typed\\r", b"typed\\r"])
def read(fd):
    data = os.read(fd, 1024)
    if data.endswith(b": "): os.write(fd, next(typed))
    return data
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:], read)))
`;

/** awscli 2.9 does not know AWS_ENDPOINT_URL. `have PATH…` makes secrets. */
const READER = `set -euo pipefail
aws() { /usr/bin/aws --endpoint-url "$AWS_ENDPOINT_URL" --output text "$@"; }
have() { for path; do echo "of $path" | secretsfs put "$path"; done; }
`;

/** What comes before a command (without its comment), and what a reader writes in place of parts of it. */
type Reader = Readonly<
  Record<string, { readonly first?: string; readonly own?: Readonly<Record<string, string>> }>
>;

/** Throws for a command that no step has: the document has another one by now. */
function asReader(steps: readonly Step[], reader: Reader): Step[] {
  const unused = new Set(Object.keys(reader));
  const read = steps.map(({ command, shown }) => {
    const [bare = ''] = command.split(/ +# /);
    unused.delete(bare);
    const { first = '', own = {} } = reader[bare] ?? {};
    const written = Object.entries(own).reduce(
      (text, [theirs, mine]) => text.replace(theirs, () => mine),
      command,
    );
    return { command: `${first}\n${written}`, shown };
  });
  assert.deepEqual([...unused], []);
  return read;
}

/** Makes a key of that alias; its ARN. */
async function key(alias: string): Promise<string> {
  const arn = await createKey(moto.url);
  const kms = motoKms(moto.url);
  await kms.send(new CreateAliasCommand({ AliasName: `alias/${alias}`, TargetKeyId: arn }));
  kms.destroy();
  return arn;
}

async function buckets(...names: string[]): Promise<void> {
  const s3 = motoS3(moto.url);
  const where = { CreateBucketConfiguration: { LocationConstraint: 'eu-west-1' } } as const;
  for (const Bucket of names) await s3.send(new CreateBucketCommand({ Bucket, ...where }));
  s3.destroy();
}

function createBench(t: TestContext, env: NodeJS.ProcessEnv = {}): Promise<Bench> {
  const own = { SECRETSFS_FORCE_PATH_STYLE: 'true', AWS_DEFAULT_REGION: 'eu-west-1', AWS_PAGER: '', ...env };
  return Bench.create(t, awsEnv(moto.url, own));
}

test('docs/keys.md makes a key, finds what is under it, retires and deletes it; its policies are taken', async (t) => {
  const bench = await createBench(t);
  const steps = asReader(stepsOf('keys'), {
    'secretsfs keys usage alias/secretsfs-web --in s3://example-bundles --in s3://example-secrets/prod --in /srv/bundles':
      {
        first: `KEY=$(secretsfs keys show alias/secretsfs-web --json | jq -r .arn)
        mkdir bundles content
        echo content >content/file
        for out in s3://example-bundles/prod/web.enc.tar bundles/web.enc; do
          secretsfs pack --dir content --key alias/secretsfs-web $out
        done
        echo secret | secretsfs put prod/db --store s3://example-secrets --key alias/secretsfs-web`,
        own: { '/srv/bundles': 'bundles' },
      },
  });
  await buckets('example-bundles', 'example-secrets');
  await key('secretsfs-web-2');
  await follow(bench, steps, READER);
  const at = (name: string) => readFile(bench.path('try', name), 'utf8').then(JSON.parse);
  for (const name of ['instance.json', 'reader.json', 'writer.json'])
    assert.ok((await at(name)).Statement.length >= 2, name);
});

test('what docs/noticing.md and docs/containers.md ask of AWS is what it takes', async (t) => {
  const bench = await createBench(t);
  const steps = asReader([...stepsOf('reap'), ...stepsOf('imds')], {
    'aws ec2 modify-instance-metadata-options --instance-id ID --http-tokens required --http-put-response-hop-limit 1':
      {
        first: "ID=$(aws ec2 run-instances --image-id ami-12c6146b --query 'Instances[0].InstanceId')",
        own: { ID: '"$ID"' },
      },
  });
  const [{ body }] = blocksOf('ecs');
  const { volumes, mountPoints, ...more } = JSON.parse(`{${body}}`);
  assert.deepEqual(more, {});
  const containerDefinitions = [{ name: 'app', image: 'app', memory: 64, mountPoints }];
  const task = JSON.stringify({ family: 'app', volumes, containerDefinitions });
  const command = `aws ecs register-task-definition --cli-input-json '${task}' >/dev/null`;
  await follow(bench, [...steps, { command, shown: [] }], READER);
});

test('docs/store.md keeps secrets, hands them out, moves, rotates, packs and compares them', async (t) => {
  const bench = await createBench(t, {
    SECRETSFS_STORE: 's3://example-store',
    KMS_KEY_ID: 'alias/store',
  });
  await buckets('example-store', 'example-packs');
  const s3 = motoS3(moto.url);
  const versions = { VersioningConfiguration: { Status: 'Enabled' } } as const;
  await s3.send(new PutBucketVersioningCommand({ Bucket: 'example-store', ...versions }));
  s3.destroy();
  const arn = await key('store');
  for (const alias of ['new', 'web-instances']) await key(alias);
  const steps = asReader(stepsOf('secrets'), {
    'secretsfs upload tls.key web/tls.key': { first: 'echo key >tls.key' },
    'secretsfs put db/password': { first: `typed() { python3 -c '${TYPED}' "$@"; }`, own: { '': 'typed ' } },
    'secretsfs download app/settings.json s.json --force --json | jq -r .etag > etag': {
      first: 'have app/settings.json',
    },
    '$EDITOR s.json': { first: `EDITOR='sed -i s/of/now/'` },
    'secretsfs download web/tls.key tls.key': { first: 'rm tls.key' },
    'secretsfs get db/password --version ID': {
      first: `ID=$(secretsfs history db/password --json | jq -r '.[-1].version')`,
      own: { ID: '"$ID"' },
    },
    "secretsfs exec 'prod/db/*' -- ./server": {
      first: `have prod/db/user prod/db/password
        printf '#!/bin/sh\\n[ "$PASSWORD$DB_PASSWORD" = "of prod/db/password" ]\\n' >server
        printf '#!/bin/sh\\n[ "$PGPASSWORD" = "of prod/db/password" ]\\n' >../bin/psql
        chmod +x server ../bin/psql`,
    },
    "secretsfs rm db/password 'old/**' --dry-run": { first: 'have old/one' },
    'secretsfs restore db/password --version 3HL4kqtJvjVBH40Nrjfkd': {
      own: { '3HL4kqtJvjVBH40Nrjfkd': '"$ID"' },
    },
    'secretsfs mv db/password prod/db/password': { first: 'secretsfs mv prod/db/password db/password' },
    'secretsfs mv db/password old/': { first: 'secretsfs mv prod/db/password db/password' },
    "secretsfs mv 'prod/**' old/ --dry-run": { first: 'have prod/db/user' },
    "secretsfs rotate 'db/**' --from-key OLD_ARN --key alias/new": {
      first: `have db/password; OLD_ARN=${arn}`,
      own: { OLD_ARN: '"$OLD_ARN"' },
    },
    'secretsfs sync ~/.gnupg gpg/home': { first: 'HOME=$PWD; mkdir .gnupg; echo ring >.gnupg/pubring.kbx' },
  });
  await follow(bench, steps, READER);
});

test('docs/old-formats.md encrypts, decrypts, and makes a bundle of a pack of sneaker', async (t) => {
  const bench = await createBench(t);
  const steps = asReader(stepsOf('old-formats'), {
    'secretsfs encrypt db-password db-password.kms --key alias/app': { first: 'echo value >db-password' },
    'secretsfs decrypt db-password.kms - | program': { first: 'program() { [ "$(cat)" = value ]; }' },
    'secretsfs unpack secrets.pack - --formats sneaker | tar x': { first: 'cp ../secrets.pack .' },
  });
  const kms = motoKms(moto.url);
  const KeyId = await key('app');
  const { CiphertextBlob = new Uint8Array(), Plaintext = new Uint8Array() } = await kms.send(
    new GenerateDataKeyCommand({ KeyId, KeySpec: 'AES_256' }),
  );
  kms.destroy();
  const made = { plaintext: Plaintext, keyId: KeyId, wrappedKey: CiphertextBlob, nonce: randomBytes(12) };
  const tar = await writeArchive([file('of-a-pack', 'content')]);
  await writeFile(bench.path('secrets.pack'), sealSneaker(tar, made));
  await follow(bench, steps, READER);
  assert.equal(await readFile(bench.path('try/of-a-pack'), 'utf8'), 'content');
});

test('the sample for KMS in docs/format.md opens a bundle', async (t) => {
  const bench = await createBench(t);
  const [{ body }] = blocksOf('open-kms');
  // Where it finds node_modules.
  const directory = await mkdtemp(path.join(REPOSITORY, 'build', 'sample-'));
  t.after(() => rm(directory, { recursive: true }));
  await writeFile(path.join(directory, 'open-kms.mjs'), body);
  const arn = await key('sample');
  await writeFile(bench.path('in.tar'), await writeArchive([file('secret', 'content')]));
  await bench.must(['pack', '--tar', 'in.tar', '--key', arn, 'web.enc']);
  const args = [path.join(directory, 'open-kms.mjs'), arn, bench.path('web.enc')];
  const tar = await must(process.execPath, args, { env: bench.env });
  assert.match(tar, /^secret\0.*content/s);
});
