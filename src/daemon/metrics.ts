/**
 * The endpoints of a mount's metrics: its socket, and the port that its config names. A port that somebody else has is
 * tried again, for as long as the mount lives, and told of once.
 */
import { chmod, chown, rm } from 'node:fs/promises';
import path from 'node:path';
import { METRICS_SOCKET } from '../control/directory.ts';
import { MetricsServer } from '../control/metrics-server.ts';
import type { CallTotal } from '../metrics/calls.ts';
import { CONTENT_TYPE } from '../metrics/exposition.ts';
import { renderMetrics } from '../metrics/metrics.ts';
import type { Snapshot } from '../metrics/snapshot.ts';
import type { MetricsOptions } from './metrics-settings.ts';

const RETRY_MS = 10_000;

export interface MetricsPorts {
  snapshot(): Promise<Snapshot>;
  /** Of this process. */
  calls(): readonly CallTotal[];
  /** `code`: an errno's name. */
  onNotListening(code: string): void;
  /** What serves can't be loaded; `code` as of MetricsServer. */
  onNotLoaded(code: string): void;
}

export class MetricsEndpoints {
  readonly #options: MetricsOptions;
  readonly #ports: MetricsPorts;
  readonly #server: MetricsServer;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: MetricsOptions, ports: MetricsPorts) {
    this.#options = options;
    this.#ports = ports;
    const { fileLabels } = options;
    this.#server = new MetricsServer({
      contentType: CONTENT_TYPE,
      load: () => import('../control/metrics-http.ts'),
      onNotLoaded: ports.onNotLoaded,
      render: async () => renderMetrics(await ports.snapshot(), { fileLabels, ownCalls: ports.calls() }),
    });
  }

  /** On a socket that listens already. Rejects where it does not. */
  async start(socket: { readonly fd: number }): Promise<void> {
    await this.#server.listen(socket);
    await this.#listen(false);
  }

  /** On a socket in `directory`, which is this mount's alone; for this user, and for `gid` where one is named. */
  async startAt(directory: string, gid: number | undefined): Promise<void> {
    const socket = path.join(directory, METRICS_SOCKET);
    await rm(socket, { force: true });
    const umask = process.umask(0o177);
    let listening: Promise<void>;
    try {
      // It is bound inside this call, under that umask.
      listening = this.#server.listen({ path: socket });
    } finally {
      process.umask(umask);
    }
    await listening;
    if (gid !== undefined) {
      await chown(socket, -1, gid);
      await chmod(socket, 0o660);
    }
    await this.#listen(false);
  }

  /** Ends who is connected. A descriptor that was given is closed, a path is removed. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#server.close();
  }

  async #listen(isTold: boolean): Promise<void> {
    const { listen } = this.#options;
    if (listen === undefined || this.#closed) return;
    try {
      await this.#server.listen(listen);
    } catch (error) {
      if (!isTold) this.#ports.onNotListening((error as NodeJS.ErrnoException).code ?? 'EIO');
      this.#timer = setTimeout(() => void this.#listen(true), RETRY_MS).unref();
    }
  }
}
