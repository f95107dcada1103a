/** HTTP for metrics-server.ts: GET /metrics, one request a connection. It listens nowhere. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

const HEADER_BYTES_MAX = 8 * 1024;

export interface MetricsServing {
  /** The text. Rejects where it can't be had now. */
  render(): Promise<string>;
  /** What it is. */
  readonly contentType: string;
}

export class MetricsHttp {
  readonly #serving: MetricsServing;
  readonly #server = createServer({ maxHeaderSize: HEADER_BYTES_MAX }, (request, response) => {
    void this.#answer(request, response);
  });

  constructor(serving: MetricsServing) {
    this.#serving = serving;
  }

  /** Somebody connected. When the connection ends at the latest is the caller's to see to. */
  take(socket: Socket): void {
    if (!socket.destroyed) this.#server.emit('connection', socket);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader('connection', 'close');
    const say = (status: number, text: string, contentType = 'text/plain; charset=utf-8') => {
      response.writeHead(status, { 'content-type': contentType });
      response.end(request.method === 'HEAD' ? undefined : text);
    };
    if (request.method !== 'GET' && request.method !== 'HEAD') return say(405, 'only GET\n');
    if (request.url?.split('?')[0] !== '/metrics') return say(404, 'metrics are at /metrics\n');
    try {
      say(200, await this.#serving.render(), this.#serving.contentType);
    } catch {
      say(503, 'the mount does not answer\n');
    }
  }
}
