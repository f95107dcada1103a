/**
 * nginx reads certificate, key, certificate, key, … of all its servers while they rotate. A pair of two generations is
 * "key values mismatch", and the reload comes to nothing. scripts/soak takes 1,000 certificates.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CAP_MS } from '../../src/vfs/consistency.ts';
import { freePort } from '../support/moto.ts';
import { Bench, eventually } from '../support/program.ts';
import type { SpecEntry } from '../support/serve.ts';
import { cleanups, serve } from '../support/server.ts';
import { makeCertificate, servedSerial } from '../support/tls.ts';

const CERTIFICATES = process.env['SECRETSFS_SOAK'] === undefined ? 200 : 1_000;
const ROTATIONS = 50;
const SERIALS = ['0A01', '0B02', '0C03'];
const RELOAD_EVERY_MS = 200;

/** How many reloads there were, and how many found a key that is not its certificate's. */
async function reloadWhileRotating(t: TestContext, consistencyWindowMs: number) {
  const bench = await Bench.create(t);
  const versions: { crt: string; key: string }[] = [];
  for (const serial of SERIALS) {
    await mkdir(bench.path(serial));
    await makeCertificate(bench.path(serial), serial);
    const read = (name: string) => readFile(bench.path(`${serial}/web.${name}`), 'utf8');
    versions.push({ crt: await read('crt'), key: await read('key') });
  }
  const entriesOf = (version: number): SpecEntry[] => {
    const { crt, key } = versions[version % versions.length] as (typeof versions)[number];
    return Array.from({ length: CERTIFICATES }, (_, i) => [
      { path: `tls/${i}.crt`, text: crt },
      { path: `tls/${i}.key`, text: key },
    ]).flat();
  };
  const after = cleanups(t);
  const server = await serve({ entries: entriesOf(0), engine: { consistencyWindowMs } }, after, {
    driver: 'kernel',
  });
  const port = await freePort();
  const at = (name: string) => bench.path(name);
  const servers = Array.from({ length: CERTIFICATES }, (_, i) => {
    const pair = `ssl_certificate ${server.path(`tls/${i}.crt`)}; ssl_certificate_key ${server.path(`tls/${i}.key`)};`;
    return `server { listen 127.0.0.1:${port} ssl; server_name n${i}; ${pair} return 200; }`;
  });
  await writeFile(
    at('nginx.conf'),
    `daemon off; pid ${at('nginx.pid')}; error_log ${at('nginx.log')} notice; worker_processes 1; events {}
http { access_log off; server_names_hash_max_size 8192;
  client_body_temp_path ${at('body')}; proxy_temp_path ${at('proxy')}; fastcgi_temp_path ${at('fastcgi')};
  uwsgi_temp_path ${at('uwsgi')}; scgi_temp_path ${at('scgi')};
${servers.join('\n')}
}`,
  );
  const nginx = spawn('nginx', ['-c', at('nginx.conf'), '-e', at('nginx.log')], { stdio: 'inherit' });
  after(async () => {
    nginx.kill('SIGTERM');
    await new Promise((resolve) => (nginx.exitCode === null ? nginx.once('close', resolve) : resolve(0)));
  });
  await eventually(() => servedSerial(port), 30_000);

  const reloading = setInterval(() => nginx.kill('SIGHUP'), RELOAD_EVERY_MS);
  for (let version = 1; version <= ROTATIONS; version++) {
    await server.activate({ entries: entriesOf(version) });
    await sleep(20 * Math.random());
  }
  clearInterval(reloading);
  const last = SERIALS[ROTATIONS % SERIALS.length];
  // One may still be under way, of which the next, right behind it, knows nothing.
  nginx.kill('SIGHUP');
  await sleep(RELOAD_EVERY_MS);
  nginx.kill('SIGHUP');
  if (consistencyWindowMs > 0)
    await eventually(async () => assert.equal(await servedSerial(port), last), 30_000);
  return readLog(await readFile(at('nginx.log'), 'utf8'));
}

/** A pass ends CAP_MS after its generation was superseded: of a reload that takes longer, nothing is promised. */
const isInTime = (seconds: number) => !(seconds * 1_000 >= CAP_MS);

/**
 * Each emergency with how long its reload took, in whole seconds. nginx takes a signal, and looks at the clock, only between reloads; the next
 * signal waits already.
 */
function readLog(log: string) {
  const reloads = log.split(/^(?=.*signal 1 \(SIGHUP\) received)/m).slice(1);
  const startsMs = reloads.map((text) => Date.parse(text.split(' [')[0] ?? ''));
  const secondsOf = (i: number) => ((startsMs[i + 1] ?? Number.NaN) - (startsMs[i] ?? Number.NaN)) / 1_000;
  const seconds = reloads.slice(0, -1).map((_, i) => secondsOf(i));
  const emergencies = reloads.flatMap((text, i) =>
    (text.match(/\[emerg\].*/g) ?? []).map((said) => ({ seconds: secondsOf(i), said })),
  );
  return {
    reloads: reloads.length,
    inTime: seconds.filter(isInTime).length,
    longestS: Math.max(...seconds),
    mismatches: emergencies.filter(({ said }) => said.includes('key values mismatch')).length,
    emergencies,
  };
}

test(`an nginx of ${CERTIFICATES} certificates that reloads during ${ROTATIONS} rotations never finds a key that is not its certificate's`, async (t) => {
  const { reloads, inTime, longestS, emergencies } = await reloadWhileRotating(t, 2_000);
  assert.deepEqual(
    emergencies.filter(({ seconds }) => isInTime(seconds)),
    [],
  );
  assert.ok(inTime >= 3, `${inTime} of ${reloads} reloads`);
  t.diagnostic(`${reloads} reloads, the longest of ${longestS} s, ${emergencies.length} late ones failed`);
});

test('the same with --consistency none finds some', async (t) => {
  const { reloads, mismatches } = await reloadWhileRotating(t, 0);
  assert.ok(mismatches > 0, `none in ${reloads} reloads`);
  t.diagnostic(`${mismatches} of ${reloads} reloads`);
});
