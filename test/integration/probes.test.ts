/** TLS handshakes of the agent, with servers of Node's. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer as createTcp, type Server } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { createSecureContext, createServer } from 'node:tls';
import { probeTls } from '../../src/daemon/probes.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { makeCertificate } from '../support/tls.ts';

async function pair(t: TestContext, serial: string) {
  const directory = await temporaryDirectory(t);
  await makeCertificate(directory, serial);
  const [cert, key] = await Promise.all(
    ['web.crt', 'web.key'].map((name) => readFile(path.join(directory, name))),
  );
  return { directory, cert, key };
}

async function listen(
  t: TestContext,
  server: Server,
  at: { host: string; port: 0 } | { path: string },
): Promise<string> {
  await new Promise<void>((resolve) => server.listen(at, resolve));
  t.after(() => server.close());
  const address = server.address();
  if (address === null || typeof address === 'string') return String(address);
  return address.family === 'IPv6'
    ? `[${address.address}]:${address.port}`
    : `${address.address}:${address.port}`;
}

test('a probe tells the serial that is served, by name, by IPv4, IPv6 and unix socket', async (t) => {
  const main = await pair(t, '0A01');
  const other = await pair(t, '80FF');
  const serve = () => {
    const server = createServer({
      ...{ cert: main.cert, key: main.key },
      SNICallback: (name, done) => {
        done(
          null,
          name === 'other.test' ? createSecureContext({ cert: other.cert, key: other.key }) : undefined,
        );
      },
    });
    server.on('tlsClientError', () => undefined);
    return server;
  };
  for (const at of [
    { host: '127.0.0.1', port: 0 },
    { host: '::1', port: 0 },
    { path: path.join(main.directory, 's') },
  ] as const) {
    const address = await listen(t, serve(), at);
    const timeoutMs = 10_000;
    assert.deepEqual(await probeTls({ address, timeoutMs }), { serial: '0a01', error: null }, address);
    assert.deepEqual(await probeTls({ address, servername: 'other.test', timeoutMs }), {
      serial: '80ff',
      error: null,
    });
  }
});

test('a probe of what is no TLS server says why, and never waits for ever', async (t) => {
  const silent = createTcp(() => undefined);
  const rude = createTcp((socket) => socket.end('HTTP/1.0 400 no\r\n\r\n'));
  const closing = createTcp((socket) => socket.destroy());
  const at = { host: '127.0.0.1', port: 0 } as const;
  const addresses = await Promise.all([silent, rude, closing].map((server) => listen(t, server, at)));
  const errors = await Promise.all(
    [...addresses, '127.0.0.1:1', 'nonsense'].map(async (address) => {
      const { serial, error } = await probeTls({ address, timeoutMs: 500 });
      assert.equal(serial, null);
      return error;
    }),
  );
  assert.equal(errors[0], 'timeout');
  assert.match(String(errors[1]), /SSL/);
  assert.match(String(errors[2]), /^(ECONNRESET|closed)$/);
  assert.deepEqual(errors.slice(3), ['ECONNREFUSED', 'address-invalid']);
  silent.unref();
});
