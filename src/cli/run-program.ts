/** A program in our place: its input and output are ours, it gets our signals, and its end is ours. */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { errnoWords, quote, UsageError } from '../errors.ts';

/** Those that are sent to a process to tell it something. SIGCHLD, SIGTSTP and their likes are between a program and its terminal. */
const PASSED_ON = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGCONT'] as const;
/** At a terminal the program gets these from the terminal, as we do: not twice. */
const OF_TERMINALS = ['SIGINT', 'SIGQUIT'] as const;

/** A signal takes no time; one that we were started to ignore does nothing. */
const ENDED_MS_MAX = 1_000;

/**
 * Resolves with what it exits with. Where a signal ends it, that ends this process too, so that whoever waits for us
 * sees what he would have seen of it. Throws UsageError where it can't be started.
 */
export async function runProgram(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<number> {
  let child: ChildProcess | undefined;
  const passOn = (signal: NodeJS.Signals) => void child?.kill(signal);
  const ignore = () => undefined;
  const isAtTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  // Before it is there: none is lost.
  for (const signal of PASSED_ON) process.on(signal, passOn);
  for (const signal of OF_TERMINALS) process.on(signal, isAtTerminal ? ignore : passOn);
  const { code, signal } = await new Promise<{ code: number | null; signal: NodeJS.Signals | null }>(
    (resolve, reject) => {
      const fail = (error: unknown) => reject(cannotRun(command, error));
      try {
        child = spawn(command, args, { stdio: 'inherit', env });
      } catch (error) {
        return fail(error);
      }
      child.once('error', fail);
      child.once('exit', (code, signal) => resolve({ code, signal }));
    },
  );
  if (signal === null) return code ?? 1;
  // Without a listener Node opens its debugger on SIGUSR1.
  if (signal !== 'SIGUSR1') {
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
    await new Promise((resolve) => setTimeout(resolve, ENDED_MS_MAX));
  }
  // As a shell says it.
  return 128 + constants.signals[signal];
}

function cannotRun(command: string, error: unknown): UsageError {
  const { code } = error as NodeJS.ErrnoException;
  const why =
    code === 'ENOENT'
      ? 'there is no such program'
      : code === 'EACCES'
        ? 'it may not be executed'
        : code === 'E2BIG'
          ? 'arguments and environment are larger than the system takes'
          : errnoWords(error);
  return new UsageError(`cannot run ${quote(command)}: ${why}`, {
    hint:
      code === 'E2BIG'
        ? 'fewer secrets, or let it read files'
        : 'after -- stands a program, by its name in PATH or its path',
    cause: error,
  });
}
