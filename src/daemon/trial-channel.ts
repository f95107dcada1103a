/**
 * What supervisor and trial runner say to each other (channel.ts).
 *
 *   supervisor → {"mountpoint":"/run/web"}         once, first: where the trial mount is to stand
 *   runner → {"attached":true}                     it stands there; or {"failed":"…"}, and the runner is of no use
 *   supervisor → {"run":["/usr/sbin/nginx","-t"],"user":{…},"timeoutMs":N}   one at a time
 *   runner → {"line":"…","stream":"stderr"}        what the program says, bounded and escaped (hooks/output.ts)
 *   runner → {"ended":{"code":1,"signal":null,"isLate":false,"dropped":0}}
 *   the end of the stream                          the runner exits, and whatever it started ends with it
 */
import type { Account } from '../system/users.ts';
import { ChannelError, type Message } from './channel.ts';
import type { ProgramEnd } from './hook-process.ts';

export interface RunOrder {
  readonly run: readonly [string, ...string[]];
  readonly user: Account;
  readonly timeoutMs: number;
}

export type FromRunner =
  | { readonly attached: true }
  | { readonly failed: string }
  | { readonly line: string; readonly stream: 'stdout' | 'stderr' }
  | { readonly ended: ProgramEnd };

/** Throws ChannelError for what no supervisor says. */
export function parseMountpoint(message: Message): string {
  const { mountpoint } = message;
  if (typeof mountpoint === 'string' && mountpoint.startsWith('/')) return mountpoint;
  throw new ChannelError('an order that is none');
}

/** Throws ChannelError for what no supervisor says. */
export function parseRunOrder({ run, user, timeoutMs }: Message): RunOrder {
  const { uid, gid, name, home } = (user ?? {}) as Record<string, unknown>;
  const isArgv = Array.isArray(run) && run.length > 0 && run.every((word) => typeof word === 'string');
  if (isArgv && isNumber(timeoutMs) && isNumber(uid) && isNumber(gid)) {
    const argv = run as [string, ...string[]];
    return { run: argv, user: { uid, gid, name: `${name}`, home: `${home}` }, timeoutMs };
  }
  throw new ChannelError('an order that is none');
}

/** Throws ChannelError for what no runner says. */
export function parseFromRunner(message: Message): FromRunner {
  const { attached, failed, line, stream, ended } = message;
  if (attached === true) return { attached };
  if (typeof failed === 'string') return { failed };
  if (typeof line === 'string' && (stream === 'stdout' || stream === 'stderr')) return { line, stream };
  if (typeof ended === 'object' && ended !== null) {
    const { code, signal, isLate, dropped } = ended as Record<string, unknown>;
    if (typeof isLate === 'boolean' && isNumber(dropped)) {
      return {
        ended: {
          code: isNumber(code) ? code : undefined,
          signal:
            typeof signal === 'string' && /^SIG[A-Z0-9]{1,10}$/.test(signal)
              ? (signal as NodeJS.Signals)
              : undefined,
          isLate,
          dropped,
        },
      };
    }
  }
  throw new ChannelError('an answer that is none');
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
