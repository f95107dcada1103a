/**
 * nginx 1.27.4 and later keeps parsed certificates, over a reload and, where `ssl_certificate` has a variable, from one handshake to
 * the next: as long as inode and whole-second mtime of the path are the same. Each rotation shows in both caches; a file
 * that is written over with its mtime set back does not, which is how the tests know that there is a cache.
 */
import assert from 'node:assert/strict';
import { copyFile, mkdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../support/moto.ts';
import { newerNginx } from '../support/newer-nginx.ts';
import { Bench, eventually, must } from '../support/program.ts';
import { rootDirectory } from '../support/root-directory.ts';
import { cleanups, serve } from '../support/server.ts';
import { patient } from '../support/slowness.ts';
import { makeCertificate, servedSerial } from '../support/tls.ts';

const SERIALS = ['0A01', '0B02', '0C03', '0D04', '0E05'];
const FIRST = '0A01';

interface Nginx {
  readonly port: number;
  reload(): void;
  log(): Promise<string>;
}

/** With certificate and key from `directory`: found by each handshake, or by each reload. */
async function startNewer(
  t: TestContext,
  bench: Bench,
  directory: string,
  how: 'handshake' | 'reload',
): Promise<Nginx> {
  const program = await newerNginx(await rootDirectory(t));
  const port = await freePort();
  const at = (name: string) => bench.path(name);
  const certificates = how === 'handshake' ? '$certificates' : directory;
  // user root: a worker that opens files as it goes must be let in.
  await writeFile(
    at('nginx.conf'),
    `daemon off; user root; worker_processes 1; events {}
pid ${at('nginx.pid')}; error_log ${at('nginx.log')} notice;
http {
  access_log off; ssl_session_cache off; ssl_session_tickets off;
  client_body_temp_path ${at('body')}; proxy_temp_path ${at('proxy')}; fastcgi_temp_path ${at('fastcgi')};
  uwsgi_temp_path ${at('uwsgi')}; scgi_temp_path ${at('scgi')};
  map $server_port $certificates { default ${directory}; }
  server {
    listen 127.0.0.1:${port} ssl;
    ssl_certificate ${certificates}/web.crt;
    ssl_certificate_key ${certificates}/web.key;
    ${how === 'handshake' ? 'ssl_certificate_cache max=10 valid=1s inactive=60s;' : ''}
    return 200 "hello";
  }
}
`,
  );
  const child = bench.start(program, ['-c', at('nginx.conf'), '-e', at('nginx.log')]);
  await eventually(() => servedSerial(port));
  return { port, reload: () => void child.kill('SIGHUP'), log: () => readFile(at('nginx.log'), 'utf8') };
}

/** A bench with a certificate of each serial, and what of it is in a mount. */
async function setUp(t: TestContext) {
  const bench = await Bench.create(t);
  const entries = new Map<string, { path: string; text: string }[]>();
  for (const serial of SERIALS) {
    await mkdir(bench.path(serial));
    await makeCertificate(bench.path(serial), serial);
    const read = async (name: string) => ({
      path: name,
      text: await readFile(bench.path(serial, name), 'utf8'),
    });
    entries.set(serial, [await read('web.crt'), await read('web.key')]);
  }
  return { bench, entriesOf: (serial: string) => ({ entries: entries.get(serial) ?? [] }) };
}

const serves = ({ port }: Nginx, serial: string) =>
  eventually(async () => assert.equal(await servedSerial(port), serial), patient(10_000));

test('the nginx that is fetched is 1.27.4 or newer', async (t) => {
  const program = await newerNginx(await rootDirectory(t));
  const [, major, minor, patch] =
    /nginx\/(\d+)\.(\d+)\.(\d+)/.exec(await must('sh', ['-c', `${program} -v 2>&1`])) ?? [];
  const version = [major, minor, patch].map(Number);
  const number = version.reduce((all, part) => all * 1_000 + part, 0);
  assert.ok(number >= 1_027_004, version.join('.'));
});

for (const how of ['handshake', 'reload'] as const) {
  for (const engine of [{ consistencyWindowMs: 2_000 }, { fastOpen: true }]) {
    test(`a cache of nginx that lasts from ${how} to ${how} takes each rotation (${JSON.stringify(engine)})`, async (t) => {
      const { bench, entriesOf } = await setUp(t);
      const server = await serve({ ...entriesOf(FIRST), engine }, cleanups(t), { driver: 'kernel' });
      const nginx = await startNewer(t, bench, server.mountpoint, how);
      for (const serial of [...SERIALS.slice(1), FIRST]) {
        await server.activate(entriesOf(serial));
        if (how === 'reload') nginx.reload();
        await serves(nginx, serial);
      }
      assert.doesNotMatch(await nginx.log(), /mismatch|\[emerg\]|\[crit\]/);
    });
  }

  test(`it does not see a file that is written over and keeps inode and mtime, from ${how} to ${how}`, async (t) => {
    const { bench } = await setUp(t);
    await mkdir(bench.path('files'));
    const file = (name: string) => bench.path('files', name);
    const put = async (serial: string) => {
      for (const name of ['web.crt', 'web.key']) await copyFile(bench.path(serial, name), file(name));
    };
    await put(FIRST);
    const nginx = await startNewer(t, bench, bench.path('files'), how);
    const { mtime } = await stat(file('web.crt'));
    await put('0B02');
    for (const name of ['web.crt', 'web.key']) await utimes(file(name), mtime, mtime);
    if (how === 'reload') {
      nginx.reload();
      await eventually(async () =>
        assert.match(await nginx.log(), /reconfiguring.*gracefully shutting down/s),
      );
    } else await sleep(3_000);
    assert.equal(await servedSerial(nginx.port), FIRST);
  });
}
