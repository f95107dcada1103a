/** A program at a terminal of its own: a pseudo-terminal that a Python process holds, of a size that can change. */
import { type ChildProcess, spawn } from 'node:child_process';
import { patient } from './slowness.ts';

const HOLD = `
import fcntl, json, os, pty, select, struct, sys, termios
columns, rows = int(sys.argv[1]), int(sys.argv[2])
def resize(fd, columns, rows): fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
master, slave = pty.openpty()
resize(master, columns, rows)
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in range(3): os.dup2(slave, fd)
    os.closerange(3, 256)
    os.execvp(sys.argv[3], sys.argv[3:])
os.close(slave)
orders, pending = 0, b""
while True:
    ready, _, _ = select.select([master] + ([orders] if orders is not None else []), [], [])
    if master in ready:
        try: data = os.read(master, 65536)
        except OSError: data = b""
        if not data: break
        os.write(1, data)
    if orders in ready:
        data = os.read(orders, 65536)
        if not data: orders = None
        pending += data
        *lines, pending = pending.split(b"\\n")
        for line in lines:
            order = json.loads(line)
            if "send" in order: os.write(master, order["send"].encode())
            if "size" in order: resize(master, *order["size"])
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
`;

export class Terminal {
  /** All that was written to it. */
  output = '';
  /** The exit code, or 128 and the number of the signal. */
  readonly ended: Promise<number | string>;
  readonly #child: ChildProcess;
  readonly #listeners = new Set<() => void>();

  /** Ends with the test. */
  constructor(
    after: (cleanup: () => Promise<void>) => void,
    command: readonly string[],
    options: { readonly columns: number; readonly rows: number; readonly env: NodeJS.ProcessEnv },
  ) {
    const { columns, rows, env } = options;
    const args = ['-c', HOLD, String(columns), String(rows), ...command];
    this.#child = spawn('python3', args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdin?.on('error', () => undefined);
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.output += text;
      for (const listener of this.#listeners) listener();
    });
    this.ended = new Promise((resolve) =>
      this.#child.once('close', (code, signal) => resolve(code ?? signal ?? 'unknown')),
    );
    after(async () => {
      this.#child.stdin?.end();
      // The program gets SIGHUP as its terminal goes.
      this.#child.kill('SIGKILL');
      await this.ended;
    });
  }

  send(text: string): void {
    this.#order({ send: text });
  }

  resize(columns: number, rows: number): void {
    this.#order({ size: [columns, rows] });
  }

  /** Resolves with what was written since `from` once that matches. */
  async until(pattern: RegExp, from = 0): Promise<string> {
    const deadline = Date.now() + patient(30_000);
    for (;;) {
      const since = this.output.slice(from);
      if (pattern.test(since)) return since;
      const leftMs = deadline - Date.now();
      if (leftMs <= 0) throw new Error(`the terminal never showed ${pattern}: ${JSON.stringify(since)}`);
      await this.#change(leftMs);
    }
  }

  #order(order: object): void {
    this.#child.stdin?.write(`${JSON.stringify(order)}\n`);
  }

  #change(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#listeners.delete(done);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      this.#listeners.add(done);
    });
  }
}
