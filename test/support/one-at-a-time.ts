/**
 * In front of moto: of requests that write to S3, one at a time. Real S3 decides a condition and writes in one step; moto
 * looks first and writes then, with threads in between.
 */
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface OneAtATime {
  readonly url: string;
  close(): Promise<void>;
}

export async function startOneAtATime(target: string): Promise<OneAtATime> {
  const { hostname, port } = new URL(target);
  const agent = new http.Agent({ keepAlive: true });
  let last: Promise<unknown> = Promise.resolve();
  const forward = (request: IncomingMessage, response: ServerResponse): Promise<void> =>
    new Promise((resolve) => {
      const { method, url, headers } = request;
      const onward = http.request(
        { hostname, port, agent, method, path: url, headers: { ...headers, connection: 'keep-alive' } },
        (answer) => {
          response.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(response);
        },
      );
      onward.on('error', () => response.destroy());
      response.on('close', resolve);
      request.pipe(onward);
    });
  const server = http.createServer((request, response) => {
    const isWrite = request.method === 'PUT' || request.method === 'DELETE';
    if (!isWrite) return void forward(request, response);
    last = last.then(() => forward(request, response));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      agent.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
