/** How a mount that goes on in the background tells who started it that it serves: mount-helper.ts is at the other end. */
import { writeSync } from 'node:fs';
import { late, libc } from '../system/libc.ts';

/** All that a mount says on its standard error before it serves; anything else is why it does not. */
export const READY = 'ready\n';

const STDERR = 2;
const dup2 = late('int dup2(int, int)');

/** Says READY on standard error, which leads where `logFd` does from then on: whoever reads it sees its end. */
export function leaveTerminal(logFd: number): void {
  writeSync(STDERR, READY);
  libc().made('dup2', dup2(logFd, STDERR));
}
