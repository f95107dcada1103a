/** Runs a small program by its argv: no shell, no input, a time limit. */
import { spawn } from 'node:child_process';

export interface Outcome {
  /** undefined when it could not be started, was killed, or did not end in time. */
  readonly code: number | undefined;
  readonly stdout: string;
  /** One line at most, fit for a message. */
  readonly stderr: string;
  readonly found: boolean;
  readonly timedOut: boolean;
}

/** Never rejects. A child that hangs is killed and not waited for: it may be in a call that nothing interrupts. */
export function run(command: string, args: readonly string[], timeoutMs: number): Promise<Outcome> {
  return new Promise((resolve) => {
    const { PATH } = process.env;
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: PATH ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    });
    const output = { stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output.stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      output.stderr += text;
    });
    const finish = (outcome: Partial<Outcome>) => {
      clearTimeout(timer);
      child.removeAllListeners();
      child.on('error', () => {});
      const [stderr = ''] = output.stderr.trim().split('\n');
      resolve({ code: undefined, stdout: output.stdout, stderr, found: true, timedOut: false, ...outcome });
    };
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      child.unref();
      child.stdout.destroy();
      child.stderr.destroy();
      finish({ timedOut: true });
    }, timeoutMs);
    child.once('error', () => finish({ found: false }));
    child.once('close', (code) => finish({ code: code ?? undefined }));
  });
}
