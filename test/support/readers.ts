/** Starts processes of reading.ts, and collects what they saw. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ReadingResult } from './reading.ts';
import { patient } from './slowness.ts';

const READING = fileURLToPath(new URL('./reading.js', import.meta.url));

export interface Readers {
  /** Ends them; throws where one did not end. */
  stop(): Promise<ReadingResult[]>;
}

export function startReaders(
  after: (cleanup: () => Promise<void>) => void,
  mountpoint: string,
  options: { readonly count: number; readonly files: number; readonly bytes: number },
): Readers {
  const children = Array.from({ length: options.count }, () => {
    const child = spawn(process.execPath, [READING, mountpoint, `${options.files}`, `${options.bytes}`], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    const ended = new Promise<string>((resolve) => child.once('close', () => resolve(output)));
    return { child, ended };
  });
  after(async () => {
    for (const { child } of children) kill(child);
  });
  return {
    async stop() {
      for (const { child } of children) child.stdin.end();
      const outputs = await Promise.all(
        children.map(({ ended }) => {
          const late = new Promise<string>((resolve) =>
            setTimeout(() => resolve(''), patient(20_000)).unref(),
          );
          return Promise.race([ended, late]);
        }),
      );
      return outputs.map((output) => {
        if (output === '') throw new Error('a reader did not end: it hangs');
        return JSON.parse(output) as ReadingResult;
      });
    },
  };
}

function kill(child: ChildProcess): void {
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
}
