/** The end of a `mount` that does not mount, under systemd, which hands over what the process before it left, and starts another. */
import { createLog } from '../daemon/log.ts';
import { EXIT_CODES } from '../errors.ts';

/** What is tried for ever is tried so often: each time may cost calls of S3 and KMS. */
const STARTS_APART_MS = 10_000;

/** Unmounts and wipes what was handed over (sd_listen_fds(3)). Does nothing where nothing was, or it was taken. Never throws. */
export async function endInherited(env: NodeJS.ProcessEnv, why: string): Promise<void> {
  if (env['LISTEN_PID'] !== `${process.pid}`) return;
  const { endLeftovers } = await import('../daemon/leftovers.ts');
  await endLeftovers(createLog({ fd: 2, readable: process.stderr.isTTY === true }), why);
}

/**
 * Returns when another may be started: the unit starts it at once, as one that is killed must be. What is wrong with the command
 * or its config is not tried again.
 */
export async function beforeAnother(env: NodeJS.ProcessEnv, exitCode: number): Promise<void> {
  const isTriedAgain = exitCode !== EXIT_CODES.usage && exitCode !== EXIT_CODES.config;
  if (!isTriedAgain || (env['NOTIFY_SOCKET'] ?? '') === '') return;
  await new Promise<void>((resolve) => {
    setTimeout(resolve, STARTS_APART_MS - performance.now());
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  });
}
