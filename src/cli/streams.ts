/** stdin and stdout as places for bytes. */
import { fstatSync, writeSync } from 'node:fs';
import { errnoWords, OutputError, SourceError, UsageError } from '../errors.ts';
import type { Context } from './command.ts';
import { formatBytes } from './ui.ts';

/**
 * Everything that comes on stdin, up to `bytesMax`. The pieces are wiped once they are joined. `more`: for a hint, what takes
 * more.
 */
export async function readStdin(
  { stdin }: Context,
  bytesMax: number,
  what: string,
  more = 'no command takes more: make several bundles of it',
): Promise<Buffer> {
  if (stdin.isTTY) {
    throw new UsageError(`cannot read ${what} from a terminal`, { hint: 'pipe it in, or name a file' });
  }
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > bytesMax) {
      throw new SourceError(
        'source-too-large',
        `cannot read ${what} from stdin: it is over ${formatBytes(bytesMax)}`,
        { hint: more },
      );
    }
  }
  const whole = Buffer.concat(chunks, length);
  for (const chunk of chunks) chunk.fill(0);
  return whole;
}

export function refuseTerminal({ stdout }: Context, what: string): void {
  if (stdout.isTTY) {
    throw new UsageError(`cannot write ${what} to a terminal`, { hint: 'redirect stdout, or name a file' });
  }
}

/** Resolves when all of it is with the reader, so that the caller may wipe `bytes`. */
export function writeStdout({ stdout }: Context, bytes: Uint8Array): Promise<void> {
  if (fstatSync(stdout.fd).isFile()) return writeWhole(stdout.fd, bytes);
  return new Promise((resolve, reject) => {
    const fail = (cause: Error) => reject(stdoutFailed(cause));
    stdout.once('error', fail);
    stdout.write(bytes, (error) => {
      if (error != null) return fail(error);
      stdout.removeListener('error', fail);
      resolve();
    });
  });
}

/** To a file Node's stdout writes once, and takes what there was room for as all of it. */
async function writeWhole(fd: number, bytes: Uint8Array): Promise<void> {
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
  } catch (cause) {
    throw stdoutFailed(cause as Error);
  }
}

export function stdoutFailed(cause: Error): OutputError {
  return new OutputError('output-failed', `cannot write to stdout: ${errnoWords(cause)}`, {
    hint: 'it was not written as a whole: look at where stdout goes',
    cause,
  });
}
