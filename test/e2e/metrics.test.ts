/** Metrics of real mounts: who may scrape them, and that they move with what happens. */
import assert from 'node:assert/strict';
import { chmod, lstat, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Family, parseExposition, sample } from '../support/exposition.ts';
import { awsEnv, createBucket, createKey, freePort, startMoto } from '../support/moto.ts';
import { Bench, eventually, run } from '../support/program.ts';
import { rootDirectory } from '../support/root-directory.ts';
import { patient } from '../support/slowness.ts';
import { makeCertificate, startNginx } from '../support/tls.ts';

type Where = { readonly socketPath: string } | { readonly host: string; readonly port: number };

function scrape(where: Where): Promise<Map<string, Family>> {
  return new Promise((resolve, reject) => {
    request({ ...where, path: '/metrics' }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      answer.on('end', () => {
        try {
          assert.equal(answer.statusCode, 200, text);
          assert.equal(answer.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
          resolve(parseExposition(text));
        } catch (error) {
          reject(error);
        }
      });
    })
      .on('error', reject)
      .end();
  });
}

async function setUp(t: TestContext, env?: NodeJS.ProcessEnv) {
  const bench = await Bench.create(t, env);
  for (const name of ['dir', 'mnt']) await mkdir(bench.path(name));
  const socketPath = bench.path('run/web/metrics.sock');
  /** Tries until `look` is satisfied: a text is made once a second. */
  const until = (look: (families: Map<string, Family>) => void, where: Where = { socketPath }) =>
    eventually(async () => look(await scrape(where)), patient(15_000));
  return { bench, socketPath, until };
}

test('what is read, rotates, is refused and is probed shows in the metrics of a mount', async (t) => {
  const { bench, socketPath, until } = await setUp(t);
  const etc = await mkdtemp('/run/secretsfs-test-');
  bench.after(() => rm(etc, { recursive: true, force: true }));
  const [tlsPort, port] = [await freePort(), await freePort()];
  await bench.must(['keygen', 'key']);
  const renew = async (serial: string) => {
    await makeCertificate(bench.path('dir'), serial);
    await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', '--name', 'web', 'new']);
    await rename(bench.path('new'), bench.path('web.enc'));
  };
  await renew('0A01');
  const config = path.join(etc, 'nginx.conf');
  await writeFile(config, `include ${bench.path('nginx.conf')};\n`);
  const probes = [{ address: `127.0.0.1:${tlsPort}`, servername: 'web.test', certificate: 'web.crt' }];
  const hooks = [{ name: 'tls', match: ['*.crt'], debounce: '100ms', nginx: { config, probes } }];
  const metrics = { listen: `127.0.0.1:${port}`, fileLabels: true };
  await writeFile(path.join(etc, 'web.yaml'), JSON.stringify({ driver: 'kernel', hooks, metrics }));
  await bench.mount(['web.enc', 'mnt', '--key', 'local:key', '--config', path.join(etc, 'web.yaml')]);
  assert.equal((await lstat(socketPath)).mode & 0o777, 0o600);
  await startNginx(bench, bench.path('mnt'), tlsPort);

  const before = await scrape({ socketPath });
  assert.equal(sample(before, 'secretsfs_info', { mount: 'web', driver: 'kernel' }), 1);
  assert.equal(sample(before, 'secretsfs_state', { state: 'live' }), 1);
  assert.equal(sample(before, 'secretsfs_refreshes_total', { outcome: 'activated' }), 1);
  assert.equal(sample(before, 'secretsfs_propagation_seconds'), undefined);
  const { samples } = before.get('secretsfs_certificate_not_after_time_seconds') ?? { samples: [] };
  assert.deepEqual(
    samples.map(({ labels }) => labels['path']),
    ['web.crt'],
  );
  const count = (families: Map<string, Family>, name: string) => sample(families, name) ?? 0;
  for (let i = 0; i < 200; i++) await readFile(bench.path('mnt/web.key'));
  await until((after) => {
    for (const name of ['secretsfs_opens_total', 'secretsfs_requests_total'])
      assert.ok(count(after, name) >= count(before, name) + 200, name);
    assert.ok(count(after, 'secretsfs_lookups_total') >= 1 && count(after, 'secretsfs_reads_total') >= 1);
    assert.ok((sample(after, 'secretsfs_request_duration_seconds_count', { operation: 'open' }) ?? 0) >= 1);
    assert.ok(count(after, 'secretsfs_last_answer_time_seconds') * 1000 > Date.now() - 60_000);
  });

  await renew('0B02');
  await until((after) => {
    assert.equal(sample(after, 'secretsfs_refreshes_total', { outcome: 'activated' }), 2);
    assert.ok(count(after, 'secretsfs_serial') > count(before, 'secretsfs_serial'));
    assert.ok(count(after, 'secretsfs_propagation_seconds') < 60);
    const probe = { hook: 'tls' };
    assert.equal(sample(after, 'secretsfs_probe_verdict', { ...probe, verdict: 'served' }), 1);
    assert.equal(sample(after, 'secretsfs_probe_serial_info', { served: '0b02', expected: '0b02' }), 1);
    assert.ok((sample(after, 'secretsfs_probe_propagation_seconds', probe) ?? 99) < 60);
    assert.equal(sample(after, 'secretsfs_hook_runs_total', probe), 1);
    assert.equal(sample(after, 'secretsfs_hook_failing', probe), 0);
  });

  // Over the port, which anybody on this machine may ask.
  await writeFile(bench.path('web.enc'), 'nothing that was sealed');
  await until(
    (after) => {
      assert.equal(sample(after, 'secretsfs_state', { state: 'failing' }), 1);
      assert.equal(sample(after, 'secretsfs_failing', { reason: 'bundle-invalid' }), 1);
      assert.ok((sample(after, 'secretsfs_refresh_failures_total', { reason: 'bundle-invalid' }) ?? 0) >= 1);
      assert.equal(sample(after, 'secretsfs_source_state', { source: '0', state: 'refused' }), 1);
      assert.equal(sample(after, 'secretsfs_refreshes_total', { outcome: 'activated' }), 2);
    },
    { host: '127.0.0.1', port },
  );
  await bench.must(['unmount', 'web']);
  await assert.rejects(lstat(socketPath), { code: 'ENOENT' });
});

test('a server that dies takes no count with it, and an agent that is replaced gives the port on', async (t) => {
  const { bench, socketPath, until } = await setUp(t);
  await writeFile(bench.path('dir/f'), 'content');
  await bench.must(['keygen', 'key']);
  await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', 'web.enc']);
  const port = await freePort();
  // Somebody else has it first.
  const other = createServer();
  await new Promise((resolve) => other.listen(port, '127.0.0.1', () => resolve(undefined)));
  await writeFile(
    bench.path('web.yaml'),
    JSON.stringify({ driver: 'kernel', metrics: { listen: `127.0.0.1:${port}` } }),
  );
  const daemon = await bench.mount(['web.enc', 'mnt', '--key', 'local:key', '--config', 'web.yaml']);
  const told = await daemon.event('metrics-not-listening');
  assert.deepEqual([told['port'], told['error']], [port, 'EADDRINUSE']);
  await new Promise((resolve) => other.close(resolve));
  for (let i = 0; i < 300; i++) await readFile(bench.path('mnt/f'));
  const opens = sample(await scrape({ socketPath }), 'secretsfs_opens_total') ?? 0;
  assert.ok(opens >= 300);
  const [status] = JSON.parse(await bench.must(['status', '--json'])) as [
    { processes: { role: string; pid: number }[] },
  ];
  process.kill(status.processes.find(({ role }) => role === 'server')?.pid ?? 0, 'SIGKILL');
  await readFile(bench.path('mnt/f'));
  await until((after) => {
    assert.ok((sample(after, 'secretsfs_opens_total') ?? 0) > opens);
    assert.ok((sample(after, 'secretsfs_process_restarts_total', { role: 'server' }) ?? 0) >= 1);
    assert.equal(sample(after, 'secretsfs_certificate_not_after_time_seconds'), undefined);
  });
  await bench.must(['upgrade', 'web']);
  await until((after) => assert.ok((sample(after, 'secretsfs_opens_total') ?? 0) > opens), {
    host: '127.0.0.1',
    port,
  });
});

test('the port of a config that changes is taken and given back while the mount serves on', async (t) => {
  const { bench, socketPath, until } = await setUp(t);
  await writeFile(bench.path('dir/f'), 'content');
  await bench.must(['keygen', 'key']);
  await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', 'web.enc']);
  // Where root alone may write: a running mount takes settings from nowhere else.
  const etc = await rootDirectory(bench);
  const config = path.join(etc, 'web.yaml');
  const configure = async (metrics?: { readonly listen: string }) => {
    await writeFile(`${config}.new`, JSON.stringify({ driver: 'kernel', ...(metrics && { metrics }) }));
    await rename(`${config}.new`, config);
  };
  const on = (port: number) => ({ host: '127.0.0.1', port });
  const isClosed = (port: number) =>
    eventually(() => assert.rejects(scrape(on(port)), { code: 'ECONNREFUSED' }), patient(15_000));
  const [first, second, taken] = [await freePort(), await freePort(), await freePort()];
  await configure();
  const daemon = await bench.mount(['web.enc', 'mnt', '--key', 'local:key', '--config', config]);
  const server = async () => {
    const [{ processes }] = JSON.parse(await bench.must(['status', '--json']));
    return processes.find(({ role }: { role: string }) => role === 'server')?.pid;
  };
  const serving = await server();
  for (let i = 0; i < 100; i++) await readFile(bench.path('mnt/f'));
  const isWhole = (families: Map<string, Family>) =>
    assert.ok((sample(families, 'secretsfs_opens_total') ?? 0) >= 100);

  await configure({ listen: `127.0.0.1:${first}` });
  await until(isWhole, on(first));
  assert.deepEqual((await daemon.event('config-applied'))['settings'], ['metrics']);
  await configure({ listen: `127.0.0.1:${second}` });
  await until(isWhole, on(second));
  await isClosed(first);

  // What is no address of this machine alone changes nothing.
  await configure({ listen: `0.0.0.0:${first}` });
  assert.match(String((await daemon.event('config-refused'))['error']), /metrics\.listen/);
  await until(isWhole, on(second));

  // Somebody else has it: who can't be told so asks the socket, and has the port when it is free.
  const other = createServer();
  await new Promise((resolve) => other.listen(taken, '127.0.0.1', () => resolve(undefined)));
  await configure({ listen: `127.0.0.1:${taken}` });
  const told = await daemon.event('metrics-not-listening');
  assert.deepEqual([told['port'], told['error']], [taken, 'EADDRINUSE']);
  await until(isWhole, { socketPath });
  await isClosed(second);
  await new Promise((resolve) => other.close(resolve));
  // It is tried every 10 s.
  await eventually(async () => isWhole(await scrape(on(taken))), patient(40_000));

  await configure();
  await isClosed(taken);
  await until(isWhole, { socketPath });
  assert.equal(await server(), serving);
  assert.equal(daemon.count('agent-died'), 0);
});

test('the group that may see the status may scrape, with either driver, and others may not', async (t) => {
  for (const driver of ['kernel', 'fuse-native']) {
    const { bench, socketPath, until } = await setUp(t);
    await writeFile(bench.path('dir/f'), 'content');
    await bench.must(['keygen', 'key']);
    await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', 'web.enc']);
    const options = ['--key', 'local:key', '--status-group', '23457', '--driver', driver];
    await bench.mount(['web.enc', 'mnt', ...options]);
    await chmod(bench.directory, 0o755);
    const as = (gid: number) => {
      const user = ['--reuid', '23458', '--regid', `${gid}`, '--clear-groups'];
      return run('setpriv', [...user, 'curl', '-sS', '--unix-socket', socketPath, 'http://mount/metrics'], {
        cwd: '/',
      });
    };
    const seen = await as(23_457);
    assert.equal(sample(parseExposition(seen.stdout), 'secretsfs_info', { driver }), 1, seen.stderr);
    assert.notEqual((await as(23_459)).code, 0);
    for (let i = 0; i < 20; i++) await readFile(bench.path('mnt/f'));
    await until((after) => {
      assert.ok((sample(after, 'secretsfs_opens_total') ?? 0) >= 20);
      assert.ok((sample(after, 'secretsfs_reads_total') ?? 0) >= 1);
      assert.ok((sample(after, 'secretsfs_resident_bytes') ?? 0) >= 7);
    });
  }
});

test('calls of S3 and KMS are counted, by who makes them and what they came to', async (t) => {
  const moto = await startMoto({ own: true });
  t.after(() => moto.stop());
  const { bench, until } = await setUp(t, awsEnv(moto.url));
  const bucket = await createBucket(moto.url);
  const key = await createKey(moto.url);
  await writeFile(bench.path('dir/f'), 'content');
  const place = `s3://${bucket}/web.enc`;
  await bench.must(['pack', '--dir', 'dir', '--key', key, '--name', 'web', place]);
  await bench.mount([place, 'mnt', '--key', key, '--name', 'web', '--poll', '1s', '--driver', 'kernel']);
  const s3 = { service: 's3' };
  await until((after) => {
    const calls = (labels: Record<string, string>) => sample(after, 'secretsfs_aws_calls_total', labels) ?? 0;
    assert.equal(calls({ process: 'unsealer', service: 'kms', operation: 'Decrypt', outcome: 'ok' }), 1);
    assert.equal(calls({ process: 'unsealer', ...s3, operation: 'GetObject', outcome: 'ok' }), 1);
    assert.ok(calls({ process: 'agent', ...s3, operation: 'HeadObject', outcome: 'not-modified' }) >= 2);
  });
  await moto.stop();
  await until((after) => {
    const labels = { process: 'agent', ...s3, operation: 'HeadObject', outcome: 'unreachable' };
    assert.ok((sample(after, 'secretsfs_aws_calls_total', labels) ?? 0) >= 1);
  });
});
