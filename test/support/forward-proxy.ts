/** A forward proxy (CONNECT, and absolute URLs for plain http) that may want a password, and records what it was asked. */
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';

export interface ForwardProxy {
  readonly port: number;
  /** "CONNECT host:port" or "GET http://host/". */
  readonly seen: string[];
  close(): Promise<void>;
}

/** Every tunnel and request goes to `upstreamPort` on this machine, whichever host was named. */
export async function startForwardProxy(
  upstreamPort: number,
  user?: { readonly name: string; readonly password: string },
): Promise<ForwardProxy> {
  const seen: string[] = [];
  const sockets = new Set<Socket>();
  const wanted =
    user === undefined
      ? undefined
      : `Basic ${Buffer.from(`${user.name}:${user.password}`).toString('base64')}`;
  const allowed = (headers: http.IncomingHttpHeaders): boolean =>
    wanted === undefined || headers['proxy-authorization'] === wanted;

  const server = http.createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    if (!allowed(request.headers)) {
      response.writeHead(407).end();
      return;
    }
    const url = new URL(request.url ?? '', 'http://not-absolute.invalid');
    const onward = http.request(
      {
        host: '127.0.0.1',
        port: upstreamPort,
        method: request.method,
        path: url.pathname + url.search,
        headers: request.headers,
      },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      },
    );
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  });
  server.on('connect', (request, socket: Socket) => {
    seen.push(`CONNECT ${request.url}`);
    if (!allowed(request.headers)) {
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
      return;
    }
    const onward = connect(upstreamPort, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      onward.pipe(socket).pipe(onward);
    });
    sockets.add(onward);
    onward.on('error', () => socket.destroy());
    socket.on('error', () => onward.destroy());
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

/** A password that appears nowhere else: for tests that look for it in output. */
export function canaryPassword(): string {
  return `canary-${randomBytes(8).toString('hex')}`;
}
