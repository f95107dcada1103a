/** Metrics over HTTP: who asks gets them, and who does not play by the rules holds nothing up. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { connect, createServer } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { MetricsServer, type MetricsServerOptions } from '../../../src/control/metrics-server.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

const load = () => import('../../../src/control/metrics-http.ts');

async function start(
  t: TestContext,
  render: () => Promise<string>,
  more: Partial<MetricsServerOptions> = {},
) {
  const socketPath = path.join(await temporaryDirectory(t), 'metrics.sock');
  const server = new MetricsServer({
    ...{ render, contentType: 'text/plain; version=0.0.4', load, onNotLoaded: (code) => assert.fail(code) },
    ...more,
  });
  t.after(() => server.close());
  await server.listen({ path: socketPath });
  return { server, socketPath };
}

function get(socketPath: string, url = '/metrics', method = 'GET') {
  return new Promise<{ status: number | undefined; type: string | undefined; text: string }>(
    (resolve, reject) => {
      request({ socketPath, path: url, method }, (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        answer.on('end', () =>
          resolve({ status: answer.statusCode, type: answer.headers['content-type'], text }),
        );
      })
        .on('error', reject)
        .end();
    },
  );
}

test('GET /metrics answers with the text and its type; what else is asked for is refused', async (t) => {
  const { socketPath } = await start(t, async () => 'a 1\n');
  assert.deepEqual(await get(socketPath), { status: 200, type: 'text/plain; version=0.0.4', text: 'a 1\n' });
  assert.equal((await get(socketPath, '/metrics?x=1')).text, 'a 1\n');
  assert.deepEqual((await get(socketPath, '/metrics', 'HEAD')).text, '');
  assert.equal((await get(socketPath, '/')).status, 404);
  assert.equal((await get(socketPath, '/metrics', 'POST')).status, 405);
});

test('a mount that can not be asked is 503, and asked again the next time', async (t) => {
  let fails = true;
  const { socketPath } = await start(t, async () => {
    if (fails) throw new Error('no');
    return 'a 1\n';
  });
  assert.equal((await get(socketPath)).status, 503);
  fails = false;
  assert.equal((await get(socketPath)).status, 200);
});

test('what serves is loaded again after it could not be, and that is told once', async (t) => {
  const told: string[] = [];
  let fails = true;
  const { socketPath } = await start(t, async () => 'a 1\n', {
    onNotLoaded: (code) => told.push(code),
    load: async () => {
      if (fails) throw Object.assign(new Error('no'), { code: 'EMFILE' });
      return load();
    },
  });
  for (let i = 0; i < 2; i++) await assert.rejects(get(socketPath));
  fails = false;
  assert.equal((await get(socketPath)).status, 200);
  assert.deepEqual(told, ['EMFILE']);
});

test('many who ask at once cost one text', async (t) => {
  let made = 0;
  let finish = () => undefined as unknown;
  const first = new Promise((resolve) => {
    finish = () => resolve(undefined);
  });
  const { socketPath } = await start(t, async () => {
    made++;
    await first;
    return 'a 1\n';
  });
  const answers = Array.from({ length: 20 }, () => get(socketPath));
  finish();
  for (const answer of answers) assert.equal((await answer).status, 200);
  assert.equal(made, 1);
});

test('who connects and says nothing is sent away, and more than a few are not let in', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { socketPath } = await start(t, async () => 'a 1\n');
  const sockets = Array.from({ length: 40 }, () => connect(socketPath));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  const closed = sockets.map((socket) => {
    socket.on('error', () => undefined);
    return new Promise((resolve) => socket.on('close', resolve).resume());
  });
  // Those above 32.
  await Promise.race(closed);
  assert.ok(sockets.filter((socket) => socket.destroyed).length <= 8);
  // Half a request is as good as none.
  sockets[0]?.write('GET /metrics HTTP/1.1\r\nHost:');
  while ((await get(socketPath).catch(() => undefined)) !== undefined) await new Promise(setImmediate);
  t.mock.timers.tick(10_000);
  await Promise.all(closed);
  assert.equal((await get(socketPath)).status, 200);
});

test('a request with more header than anybody sends is refused', async (t) => {
  const { socketPath } = await start(t, async () => 'a 1\n');
  const socket = connect(socketPath);
  const answer = new Promise<string>((resolve) => {
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('error', () => undefined).on('close', () => resolve(text));
  });
  socket.write(`GET /metrics HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`);
  assert.match(await answer, /^(HTTP\/1\.1 431|$)/);
});

test('an address that is taken is an error of listen()', async (t) => {
  const other = createServer();
  await new Promise((resolve) => other.listen(0, '127.0.0.1', () => resolve(undefined)));
  t.after(() => other.close());
  const { server } = await start(t, async () => '');
  const { port } = other.address() as { port: number };
  await assert.rejects(server.listen({ host: '127.0.0.1', port }), { code: 'EADDRINUSE' });
});
