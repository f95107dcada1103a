/**
 * Whether a mount answers, asked by a program that starts in 3 ms: where the prober's shell can't
 * ask, its place is taken by a Node, which takes a hundred, and nobody is served meanwhile. Like the prober it may hang for as long as the server does; this process does not wait.
 */
import { run } from '../system/run.ts';

/** statfs(2), which always reaches the server. False also where there is no such program. Never throws. */
export async function answersStatfs(mountpoint: string, timeoutMs: number): Promise<boolean> {
  const { code } = await run('stat', ['-f', '--', mountpoint], timeoutMs);
  return code === 0;
}
