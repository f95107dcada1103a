/** The asking end of the control protocol. */
import { connect } from 'node:net';
import path from 'node:path';
import { ControlError, isErrorCode, quote, SecretsfsError } from '../errors.ts';
import { CONTROL_SOCKET, STATUS_SOCKET } from './directory.ts';
import {
  ANSWER_BYTES_MAX,
  type Arguments,
  answerSchema,
  type Failure,
  type HookResult,
  hookResultSchema,
  type Operation,
  PROTOCOL_VERSION,
  READ_ONLY_OPERATIONS,
  type RemountResult,
  remountSchema,
  type Status,
  statusSchema,
  type UnmountResult,
  type UpgradeResult,
  unmountSchema,
  upgradeSchema,
} from './protocol.ts';

/** What a person would say. */
const ACTIONS: Readonly<Record<Operation, string>> = {
  status: 'show the status',
  wait: 'wait',
  remount: 'remount',
  unmount: 'unmount',
  upgrade: 'upgrade',
  hook: 'run the hook',
};

/** What each operation is answered with. */
export interface Results {
  status: Status;
  wait: Status;
  remount: RemountResult;
  unmount: UnmountResult;
  upgrade: UpgradeResult;
  hook: HookResult;
}

const RESULT_SCHEMAS = {
  status: statusSchema,
  wait: statusSchema,
  remount: remountSchema,
  unmount: unmountSchema,
  upgrade: upgradeSchema,
  hook: hookResultSchema,
} as const;

/**
 * Asks the mount called `name`. Throws what the daemon answered as a SecretsfsError with the same code; and
 * ControlError: control-not-running, control-denied, control-protocol, or wait-timeout after `timeoutMs`.
 */
export async function ask<O extends Operation>(
  runtimeDir: string,
  name: string,
  operation: O,
  timeoutMs: number,
  args: Arguments = {},
): Promise<Results[O]> {
  const directory = path.join(runtimeDir, name);
  const sockets = READ_ONLY_OPERATIONS.includes(operation)
    ? [CONTROL_SOCKET, STATUS_SOCKET]
    : [CONTROL_SOCKET];
  let denied: unknown;
  for (const file of sockets) {
    let line: string;
    try {
      line = await exchange(path.join(directory, file), operation, timeoutMs, args);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (error instanceof SecretsfsError) throw error;
      if (code === 'EACCES' || code === 'EPERM') {
        denied = error;
        continue;
      }
      // No status socket beside a control socket that we may not use: that is a denial.
      if (denied !== undefined) break;
      if (code !== 'ENOENT' && code !== 'ECONNREFUSED' && code !== 'ENOTDIR') throw unreadable(operation);
      // Its socket is there, and nobody listens.
      const wasKilled = code === 'ECONNREFUSED';
      const why = wasKilled
        ? `the mount ${quote(name)} was killed`
        : `no mount called ${quote(name)} is running`;
      throw new ControlError('control-not-running', `cannot ${ACTIONS[operation]}: ${why}`, {
        hint: wasKilled
          ? 'secretsfs mount, or its unit, clears what it left and starts it again'
          : 'secretsfs status lists the running ones; secretsfs mount starts one',
        cause: error,
      });
    }
    return readAnswer(line, operation);
  }
  throw new ControlError(
    'control-denied',
    `cannot ${ACTIONS[operation]}: the mount ${quote(name)} belongs to another user`,
    {
      hint: READ_ONLY_OPERATIONS.includes(operation)
        ? 'run as root, or as the user of the mount; --status-group lets a group see the status'
        : 'run as root, or as the user of the mount',
      cause: denied,
    },
  );
}

function exchange(
  socketPath: string,
  operation: Operation,
  timeoutMs: number,
  args: Arguments,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    let text = '';
    const timer = setTimeout(() => {
      const message = `cannot ${ACTIONS[operation]}: no answer within ${timeoutMs / 1000} s`;
      socket.destroy();
      reject(
        new ControlError('wait-timeout', message, { hint: 'the log of the mount says what it is doing' }),
      );
    }, timeoutMs);
    const settle = (act: () => void) => {
      clearTimeout(timer);
      socket.destroy();
      act();
    };
    socket.setEncoding('utf8');
    socket.on('connect', () =>
      socket.write(`${JSON.stringify({ v: PROTOCOL_VERSION, op: operation, ...args })}\n`),
    );
    socket.on('data', (chunk: string) => {
      text += chunk;
      const end = text.indexOf('\n');
      if (end >= 0) settle(() => resolve(text.slice(0, end)));
      else if (text.length > ANSWER_BYTES_MAX) settle(() => reject(unreadable(operation)));
    });
    socket.on('end', () => settle(() => reject(unreadable(operation))));
    socket.on('error', (error) => settle(() => reject(error)));
  });
}

function unreadable(operation: Operation): ControlError {
  return new ControlError(
    'control-protocol',
    `cannot ${ACTIONS[operation]}: the mount's answer is not readable`,
    {
      hint: 'the mount may have stopped, or be of another version: secretsfs version, and its log',
    },
  );
}

function readAnswer<O extends Operation>(line: string, operation: O): Results[O] {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    throw unreadable(operation);
  }
  const answer = answerSchema.safeParse(json).data;
  if (answer === undefined) throw unreadable(operation);
  if (!answer.ok) throw remoteError(answer.error);
  const result = RESULT_SCHEMAS[operation].safeParse(answer.result).data;
  if (result === undefined) throw unreadable(operation);
  return result as Results[O];
}

/** The daemon's failure as an error of our own; a code that only a newer daemon knows keeps its text. */
function remoteError(failure: Failure): SecretsfsError {
  const code = isErrorCode(failure.code) ? failure.code : 'control-protocol';
  return new SecretsfsError(code, failure.message, { hint: failure.hint });
}
