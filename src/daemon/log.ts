/**
 * The daemon's log: one line an event, on stderr. JSON for a journal, words for a terminal. Event names are stable
 * (docs/cli-abi.md). Nothing foreign is written unescaped: in JSON by JSON, on a terminal by quote().
 */
import { writeSync } from 'node:fs';
import { type Logger, pino } from 'pino';
import { quote, type SecretsfsError } from '../errors.ts';

/** What servers and agents say; through the supervisor, as all children (child-log.ts). */
export type ServerEvent =
  | 'malformed-request'
  | 'unknown-request'
  | 'reply-refused'
  | 'generation-unreadable'
  | 'metrics-not-listening'
  | 'file-opened'
  | 'open-refused'
  | 'bug';

export type Event =
  | ServerEvent
  | 'child-output'
  | 'child-output-lost'
  | 'starting'
  | 'start-waits'
  | 'stale-mount-cleared'
  | 'resumed'
  | 'not-resumed'
  | 'handed-over'
  | 'ready'
  | 'unsealed'
  | 'activated'
  | 'retired'
  | 'floor-missing'
  | 'floor-lowered'
  | 'floor-not-kept'
  | 'started-from-cache'
  | 'cache-kept'
  | 'cache-refused'
  | 'cache-not-kept'
  | 'check-warning'
  | 'check-output'
  | 'check-passed'
  | 'check-refused'
  | 'check-left'
  | 'config-applied'
  | 'config-refused'
  | 'config-restart-needed'
  | 'refresh-failed'
  | 'refresh-recovered'
  | 'unmounted-from-outside'
  | 'notify-failed'
  | 'swap-allowed'
  | 'server-died'
  | 'server-hung'
  | 'server-not-started'
  | 'request-refused'
  | 'successor-died'
  | 'successor-not-ready'
  | 'successor-ready'
  | 'prober-died'
  | 'teller-died'
  | 'prober-hung'
  | 'notifier-died'
  | 'agent-died'
  | 'agent-hung'
  | 'agent-not-started'
  | 'names-not-replaced'
  | 'upgraded'
  | 'upgrade-failed'
  | 'hook-started'
  | 'hook-output'
  | 'hook-done'
  | 'hook-failed'
  | 'probe-served'
  | 'probe-wrong'
  | 'probe-unreachable'
  | 'stopping'
  | 'stopped';

export interface Log {
  info(event: Event, fields?: Record<string, unknown>): void;
  warn(event: Event, fields?: Record<string, unknown>): void;
  error(event: Event, fields?: Record<string, unknown>): void;
}

/** Writes whole lines to `fd`, at once: a daemon that is killed has said what it had to say. */
export function createLog(options: { readonly fd: number; readonly readable: boolean }): Log {
  const write = (line: string) => writeLine(options.fd, options.readable ? readable(line) : line);
  const logger = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime, messageKey: 'event' },
    { write },
  );
  const at =
    (level: 'info' | 'warn' | 'error') =>
    (event: Event, fields: Record<string, unknown> = {}) => {
      (logger as Logger)[level](fields, event);
    };
  return { info: at('info'), warn: at('warn'), error: at('error') };
}

/** The fields of a failure, for any event. */
export function errorFields(error: SecretsfsError): Record<string, unknown> {
  return {
    code: error.code,
    error: error.message,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  };
}

/** A log that nobody reads any more (a closed pipe, a full disk) must not take the mount down. */
function writeLine(fd: number, line: string): void {
  try {
    writeSync(fd, line);
  } catch {
    // There is nowhere left to say it.
  }
}

const LEVELS: Readonly<Record<number, string>> = { 40: 'warning: ', 50: 'error: ' };

function readable(line: string): string {
  const { level, time, event, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const words = Object.entries(fields).map(([name, value]) => {
    return `${name}=${typeof value === 'string' ? quote(value) : JSON.stringify(value)}`;
  });
  return `${String(time).slice(11, 19)} ${LEVELS[Number(level)] ?? ''}${[event, ...words].join(' ')}\n`;
}
