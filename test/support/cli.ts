/** The command line in this process, where what it prints is all that is looked at. */
import { PassThrough } from 'node:stream';
import { runCli } from '../../src/cli/cli.ts';

/** `columns`: of a terminal that stdout is said to be; `tty` false: what a program is told that has none. */
export async function runInProcess(
  args: readonly string[],
  { columns, tty = false }: { readonly columns: number; readonly tty?: boolean },
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const stdout = Object.assign(new PassThrough(), { isTTY: tty, columns, fd: 1 });
  const stderr = Object.assign(new PassThrough(), { isTTY: false });
  const fake = { env: {}, stdin: process.stdin, stdout, stderr };
  const code = await runCli(args, fake as unknown as NodeJS.Process);
  return { code, stdout: String(stdout.read() ?? ''), stderr: String(stderr.read() ?? '') };
}
