/**
 * What is told to several bundles in one mount, and what is told of them: a queue for one of them, hooks and checking programs
 * over the paths of two, each while another one fails.
 */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { PutBucketNotificationConfigurationCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { CreateQueueCommand, SQSClient } from '@aws-sdk/client-sqs';
import type { ArchiveEntry } from '../../src/bundle/archive.ts';
import { issue } from '../support/certificates.ts';
import { file } from '../support/entries.ts';
import {
  ACCOUNT,
  awsEnv,
  createBucket,
  freePort,
  type Moto,
  motoS3,
  startMoto,
  unique,
} from '../support/moto.ts';
import { eventually } from '../support/program.ts';
import { script } from '../support/root-directory.ts';
import { APP, Several, sealed, TLS } from '../support/several.ts';

const REGION = 'eu-west-1';
let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto?.stop());

/** A bundle of another name: the part fails until one of its own comes. */
async function breakIt(several: Several, part: string, serial: number): Promise<void> {
  await several.put(part, { serial, name: 'another' });
  await eventually(async () => assert.equal((await several.part(part)).error?.code, 'bundle-name'));
}

test('what S3 tells the queue of one bundle is live within seconds, while another one fails', async (t) => {
  const several = await Several.create(t, awsEnv(moto.url));
  const credentials = { accessKeyId: 'testing', secretAccessKey: 'testing' };
  const sqs = new SQSClient({ endpoint: moto.url, region: REGION, credentials });
  const s3 = motoS3(moto.url);
  t.after(() => {
    sqs.destroy();
    s3.destroy();
  });
  const Bucket = await createBucket(moto.url, { versioned: true });
  const { QueueUrl = '' } = await sqs.send(new CreateQueueCommand({ QueueName: unique('uploads') }));
  const QueueArn = `arn:aws:sqs:${REGION}:${ACCOUNT}:${QueueUrl.split('/').at(-1)}`;
  const QueueConfigurations = [{ QueueArn, Events: ['s3:ObjectCreated:*' as const] }];
  await s3.send(
    new PutBucketNotificationConfigurationCommand({
      Bucket,
      NotificationConfiguration: { QueueConfigurations },
    }),
  );
  const upload = async (name: string, serial: number) =>
    s3.send(new PutObjectCommand({ Bucket, Key: `${name}.sfs`, Body: await sealed({ name, serial }) }));
  for (const [name, serial] of [
    ['told', 21],
    ['polled', 31],
  ] as const)
    await upload(name, serial);
  await several.put('tls', { serial: 1 });
  const of = (name: string, more: string) =>
    `  ${name}: { source: 's3://${Bucket}/${name}.sfs', key: local:key, forcePathStyle: true, poll: 1h${more} }\n`;
  await several.mount(`${TLS}${of('told', `, queue: '${QueueUrl}'`)}${of('polled', '')}`);
  await eventually(async () => assert.equal((await several.part('told')).queue?.state, 'listening'));
  await breakIt(several, 'tls', 2);
  for (const serial of [22, 23]) {
    await upload('told', serial);
    await several.serves('told', serial);
  }
  // S3 tells the same queue of it: what it says is a hint for the bundle whose queue it is.
  await upload('polled', 32);
  await upload('told', 24);
  await several.serves('told', 24);
  assert.equal(await several.read('polled', 'serial'), 'polled 31');
  assert.equal(await several.read('tls', 'serial'), 'tls 1');
  const { parts, state } = await several.status();
  assert.equal(state, 'failing');
  assert.deepEqual(
    parts?.map((part) => [part.directory, part.state, part.queue?.state]),
    [
      ['tls', 'failing', undefined],
      ['told', 'live', 'listening'],
      ['polled', 'live', undefined],
    ],
  );
});

test('a hook is told of the paths of two bundles, and of nothing of one that fails', async (t) => {
  const several = await Several.create(t);
  const log = path.join(several.etc, 'told');
  const tell = await script(several.etc, 'tell', `#!/bin/sh\necho "$1 $(cat)" >> ${log}\n`);
  const hooks = [
    { name: 'both', match: ['tls/*', 'app/*'], run: [tell, 'both'], debounce: '100ms' },
    { name: 'one', match: ['app/*.json'], run: [tell, 'one'], debounce: '100ms' },
  ];
  const told = async () => {
    const lines = (await readFile(log, 'utf8').catch(() => '')).split('\n').filter(Boolean);
    return lines.map((line) => {
      const [name = '', json = ''] = line.split(/ (.*)/s);
      const { changed } = JSON.parse(json) as { changed: { path: string; change: string }[] };
      return `${name}: ${changed.map((each) => `${each.path} ${each.change}`).join(', ')}`;
    });
  };
  await several.put('tls', { serial: 1 });
  await several.put('app', { serial: 11, entries: [file('a.json', '{}')] });
  await several.mount(TLS + APP, `hooks: ${JSON.stringify(hooks)}\n`);
  assert.deepEqual(await told(), [], 'the first generation is there before its readers');
  await several.put('tls', { serial: 2 });
  await eventually(async () => assert.deepEqual(await told(), ['both: tls/serial changed']));
  await several.put('app', { serial: 12, entries: [file('b.json', '{}')] });
  await eventually(async () => {
    const [, ...rest] = await told();
    assert.deepEqual(rest.sort(), [
      'both: app/a.json removed, app/b.json added, app/serial changed',
      'one: app/a.json removed, app/b.json added',
    ]);
  });
  await breakIt(several, 'app', 13);
  await several.put('tls', { serial: 3, entries: [file('new')] });
  await several.serves('tls', 3);
  await eventually(async () => assert.equal((await told()).length, 4));
  assert.equal((await told())[3], 'both: tls/new added, tls/serial changed');
});

test('nginx -t refuses of two bundles the one with which its configuration breaks, and takes it when the other one fits', async (t) => {
  const several = await Several.create(t);
  const { bench, etc } = several;
  const at = (name: string) => path.join(etc, name);
  const mountpoint = bench.path('mnt');
  await writeFile(
    at('nginx.conf'),
    `pid ${at('nginx.pid')}; error_log /dev/stderr; events {}
http {
  access_log /dev/stdout;
  client_body_temp_path ${at('body')}; proxy_temp_path ${at('proxy')}; fastcgi_temp_path ${at('fastcgi')};
  uwsgi_temp_path ${at('uwsgi')}; scgi_temp_path ${at('scgi')};
  include ${mountpoint}/app/*.conf;
}
`,
  );
  const port = await freePort();
  const site = (name: string): ArchiveEntry =>
    file(
      'site.conf',
      `server { listen 127.0.0.1:${port} ssl; ssl_certificate ${mountpoint}/tls/${name}.crt; ssl_certificate_key ${mountpoint}/tls/${name}.key; }`,
    );
  const pair = (name: string): ArchiveEntry[] => {
    const { certificate, key } = issue({ cn: name });
    return [file(`${name}.crt`, certificate), file(`${name}.key`, key)];
  };
  const run = ['/usr/sbin/nginx', '-t', '-c', at('nginx.conf'), '-e', at('nginx.log')];
  const checks = { exec: [{ name: 'nginx', run, match: ['tls/*.crt', 'tls/*.key', 'app/*.conf'] }] };
  await several.put('tls', { serial: 1, entries: pair('a') });
  await several.put('app', { serial: 11, entries: [site('a')] });
  await several.mount(TLS + APP, `checks: ${JSON.stringify(checks)}\n`);

  const refused = (part: string, why: RegExp) =>
    eventually(async () => {
      const { state, error } = await several.part(part);
      assert.deepEqual([state, error?.code], ['failing', 'check-exec']);
      assert.match(error?.message ?? '', why);
    });
  // A site whose certificate only the next bundle of the other one has.
  await several.put('app', { serial: 12, entries: [site('b')] });
  await refused('app', /check "nginx" ended with code 1: .*tls\/b\.crt/);
  assert.equal(await several.read('app', 'serial'), 'app 11');
  assert.equal((await several.part('tls')).state, 'live');
  // What the live site needs may not go.
  await several.put('tls', { serial: 2, entries: pair('b') });
  await refused('tls', /check "nginx" ended with code 1: .*tls\/a\.crt/);
  assert.equal(await several.read('tls', 'serial'), 'tls 1');
  // Both fit: the site goes live as soon as it is tried again.
  await several.put('tls', { serial: 3, entries: [...pair('a'), ...pair('b')] });
  await several.serves('tls', 3);
  await bench.secretsfs(['remount', 'web/app']);
  await several.serves('app', 12);
  await eventually(async () => assert.equal((await several.status()).state, 'live'));
});
