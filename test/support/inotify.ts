/** inotifywait as a process: every event but those of reading, one line each, `EVENTS PATH`. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const EVENTS = [
  ...['modify', 'attrib', 'close_write', 'moved_to', 'moved_from', 'move_self'],
  ...['create', 'delete', 'delete_self', 'unmount'],
];
const START_MS_MAX = 10_000;
const EVENT_MS_MAX = 5_000;
/** Events that were made before an activation was answered are there long before. */
const QUIET_MS = 100;

export class Events {
  readonly #lines: string[] = [];
  #taken = 0;

  private constructor(child: ChildProcess) {
    if (child.stdout === null) throw new Error('no stdout');
    createInterface({ input: child.stdout }).on('line', (line) => this.#lines.push(line));
  }

  /** Resolves when all watches are set. Of these paths only, not of what is below. */
  static async of(after: (cleanup: () => Promise<void>) => void, paths: readonly string[]): Promise<Events> {
    const args = ['-m', '--format', '%e %w%f', ...EVENTS.flatMap((event) => ['-e', event]), ...paths];
    const child = spawn('inotifywait', args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
    after(async () => {
      child.kill('SIGKILL');
      await ended;
    });
    const events = new Events(child);
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no watches')), START_MS_MAX);
      let said = '';
      child.once('error', reject);
      child.once('close', () => reject(new Error(said)));
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (!said.includes('Watches established')) return;
        clearTimeout(timer);
        resolve();
      });
    });
    return events;
  }

  /** The next `count` events, waiting for them. */
  async take(count: number): Promise<string[]> {
    const deadline = performance.now() + EVENT_MS_MAX;
    while (this.#lines.length < this.#taken + count && performance.now() < deadline) await sleep(10);
    const lines = this.#lines.slice(this.#taken, this.#taken + count);
    this.#taken += lines.length;
    return lines;
  }

  /** Whatever else came, or comes in a short while. */
  async rest(): Promise<string[]> {
    await sleep(QUIET_MS);
    return this.take(this.#lines.length - this.#taken);
  }
}
