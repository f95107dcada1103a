/** Asking for a value at a terminal that does not show it. What is typed is in Buffers only, which are wiped. */
import { OutputError, UsageError } from '../errors.ts';

/** A line at a terminal in its own line mode is no longer either. */
const TYPED_BYTES_MAX = 4096;

const [CTRL_C, CTRL_D, BACKSPACE, NEWLINE, RETURN, CTRL_U, DELETE] = [3, 4, 8, 10, 13, 21, 127];

type Terminal = Pick<NodeJS.ReadStream, 'setRawMode' | 'on' | 'removeListener' | 'resume' | 'pause'>;

/** Asks for the value of `name`, and once more. The caller wipes it. Throws UsageError where they differ. */
export async function promptTwice(
  terminal: Terminal,
  shown: Pick<NodeJS.WriteStream, 'write'>,
  name: string,
): Promise<Buffer> {
  // Raw, before anything is shown, so that the terminal neither shows what is typed nor makes signals of it, which would
  // leave it so.
  terminal.setRawMode(true);
  let first: Buffer | undefined;
  try {
    first = await ask(terminal, shown, `value of ${name} (not shown): `);
    const second = await ask(terminal, shown, 'the same again: ');
    const isSame = first.equals(second);
    second.fill(0);
    if (isSame) return first;
    throw new UsageError('cannot put a value: the two that were typed differ', {
      hint: 'run the command again',
    });
  } catch (error) {
    first?.fill(0);
    throw error;
  } finally {
    terminal.setRawMode(false);
  }
}

async function ask(
  terminal: Terminal,
  shown: Pick<NodeJS.WriteStream, 'write'>,
  question: string,
): Promise<Buffer> {
  shown.write(question);
  try {
    return await readLine(terminal);
  } finally {
    terminal.pause();
    shown.write('\n');
  }
}

function readLine(terminal: Terminal): Promise<Buffer> {
  const typed = Buffer.allocUnsafeSlow(TYPED_BYTES_MAX);
  let length = 0;
  return new Promise<Buffer>((resolve, reject) => {
    const end = (error?: Error): void => {
      terminal.removeListener('data', onData);
      terminal.removeListener('end', onEnd);
      // What was taken back is still there.
      typed.fill(0, length);
      if (error === undefined) resolve(typed.subarray(0, length));
      else {
        typed.fill(0);
        reject(error);
      }
    };
    const onEnd = () => end(interrupted('the terminal is gone'));
    const onData = (chunk: Buffer): void => {
      for (const byte of chunk) {
        const isEnd = byte === NEWLINE || byte === RETURN;
        const isTaken = isEnd || byte === CTRL_C || byte === CTRL_D;
        if (isTaken || (isOrdinary(byte) && length === TYPED_BYTES_MAX)) {
          end(isEnd ? undefined : isTaken ? interrupted('it was interrupted') : tooLong());
          break;
        }
        if (byte === BACKSPACE || byte === DELETE) length = beforeLast(typed, length);
        else if (byte === CTRL_U) length = 0;
        else typed[length++] = byte;
      }
      chunk.fill(0);
    };
    terminal.on('data', onData);
    terminal.on('end', onEnd);
    terminal.resume();
  });
}

function isOrdinary(byte: number): boolean {
  return byte !== BACKSPACE && byte !== DELETE && byte !== CTRL_U;
}

/** Where the last character begins: of UTF-8, all bytes but the first are 10xxxxxx. */
function beforeLast(typed: Buffer, length: number): number {
  let at = length;
  do at--;
  while (at > 0 && ((typed[at] ?? 0) & 0xc0) === 0x80);
  return Math.max(0, at);
}

function interrupted(why: string): OutputError {
  return new OutputError('output-failed', `cannot put a value: ${why}`, { hint: 'nothing was written' });
}

function tooLong(): UsageError {
  return new UsageError(`cannot put a value: more than ${TYPED_BYTES_MAX} bytes were typed`, {
    hint: 'pipe it in, or: secretsfs upload FILE PATH',
  });
}
