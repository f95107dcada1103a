/**
 * Serves metrics to whoever can connect. Nobody can hold anything up: a connection ends after some seconds whatever it
 * does, there are few of them, and a text is made once a second at the most, however often it is asked for.
 */
import { createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import type { MetricsHttp, MetricsServing } from './metrics-http.ts';

/** From connecting to having read the answer. */
const CONNECTION_MS_MAX = 10_000;
/** More at once are turned away. */
const CONNECTIONS_MAX = 32;
/** Who asks again within this gets the same text. */
const SAME_FOR_MS = 1_000;

export interface MetricsServerOptions extends MetricsServing {
  /** What serves could not be loaded. Told once, and tried again when somebody connects. `code`: an errno's name, or Node's. */
  onNotLoaded(code: string): void;
  /** When it is first needed: most mounts are never asked, and HTTP takes 2 MB. */
  load(): Promise<Pick<typeof import('./metrics-http.ts'), 'MetricsHttp'>>;
}

export class MetricsServer {
  readonly #serving: MetricsServerOptions;
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();
  #http: Promise<MetricsHttp> | undefined;
  #isTold = false;
  #text: Promise<string> | undefined;

  constructor(serving: MetricsServerOptions) {
    this.#serving = serving;
  }

  /** Also where it listens already. Rejects with what listen(2) and its like say. close() closes a descriptor. */
  listen(where: ListenOptions | { readonly fd: number }): Promise<void> {
    const server = createServer((socket) => this.#accept(socket));
    server.maxConnections = CONNECTIONS_MAX;
    return new Promise((resolve, reject) => {
      server.once('error', reject).listen(where, () => {
        server.removeListener('error', reject);
        // Out of descriptors, for one: who wanted to connect tries again.
        server.on('error', () => undefined);
        this.#servers.push(server);
        resolve();
      });
    });
  }

  async close(): Promise<void> {
    const closed = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)));
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    const timer = setTimeout(() => socket.destroy(), CONNECTION_MS_MAX).unref();
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      clearTimeout(timer);
      this.#sockets.delete(socket);
    });
    this.#http ??= this.#load();
    this.#http.then(
      (http) => http.take(socket),
      (error: unknown) => {
        socket.destroy();
        this.#notLoaded(error);
      },
    );
  }

  /** All who wait for one attempt come here before anybody can begin another. */
  #notLoaded(error: unknown): void {
    this.#http = undefined;
    if (this.#isTold) return;
    this.#isTold = true;
    this.#serving.onNotLoaded((error as NodeJS.ErrnoException).code ?? 'EIO');
  }

  async #load(): Promise<MetricsHttp> {
    const { MetricsHttp } = await this.#serving.load();
    const { contentType } = this.#serving;
    return new MetricsHttp({ contentType, render: () => this.#render() });
  }

  #render(): Promise<string> {
    if (this.#text !== undefined) return this.#text;
    const text = this.#serving.render();
    this.#text = text;
    const forget = () => {
      if (this.#text === text) this.#text = undefined;
    };
    text.then(() => setTimeout(forget, SAME_FOR_MS).unref(), forget);
    return text;
  }
}
