/**
 * The composer: one process for one new generation of a mount of several bundles. Puts the images that the parts' unsealers
 * wrote together, each below its directory, so that what did not change keeps its inodes; says one line, and exits. It has
 * no network, no key and no bundle, and it runs as the server's user, which sees all of this anyway: no unsealer, which
 * sees one part, can look into it.
 *
 * Descriptors: 3 the channel, 4 the candidate's image, 5 its changes, 6 the previous image or /dev/null, from 7 on the
 * images of the parts that have one.
 */
import { describeBug, MountError, SecretsfsError } from '../errors.ts';
import { SyncChannel } from './channel.ts';
import { enterChild, writeToLog } from './child.ts';
import { composeImages } from './compose-images.ts';
import {
  COMPOSER_TASK_VERSION,
  type ComposerResult,
  type ComposerTask,
  PARTS_FD,
  PARTS_VARIABLE,
} from './composer-task.ts';

const CHANNEL_FD = 3;
const CANDIDATE_FD = 4;
const CHANGES_FD = 5;
const PREVIOUS_FD = 6;
/** What a link in /proc/self/fd says of a file, /dev/null included. */
const FILE = /^\//;

/** The composer as a process. Never returns. */
export function runComposer(): never {
  const more = Number(process.env[PARTS_VARIABLE] ?? 0);
  enterChild({ role: 'composer', fds: [/^socket:/, FILE, FILE, FILE, ...Array<RegExp>(more).fill(FILE)] });
  const channel = new SyncChannel(CHANNEL_FD);
  const partFds = Array.from({ length: more }, (_, i) => PARTS_FD + i);
  const files = { candidateFd: CANDIDATE_FD, changesFd: CHANGES_FD, previousFd: PREVIOUS_FD, partFds };
  let result: ComposerResult;
  try {
    result = { outcome: 'composed', ...composeImages(taskOf(channel.receive()), files) };
  } catch (error) {
    result = failureOf(error);
  }
  channel.send({ ...result });
  process.exit();
}

function taskOf(said: Readonly<Record<string, unknown>> | undefined): ComposerTask {
  const { version, ...task } = said ?? {};
  // Whoever says it is the supervisor, whose word everything here is done by.
  if (version === COMPOSER_TASK_VERSION) return task as unknown as ComposerTask;
  throw new MountError('composer-failed', 'cannot compose: the running supervisor is of another version', {
    hint: 'restart the mount: secretsfs upgrade replaces every process but the supervisor',
  });
}

function failureOf(error: unknown): ComposerResult {
  if (error instanceof SecretsfsError) {
    const { code, message, hint } = error;
    return { outcome: 'failed', code, message, ...(hint === undefined ? {} : { hint }) };
  }
  writeToLog(`${JSON.stringify({ level: 50, event: 'bug', error: describeBug(error) })}\n`);
  return {
    outcome: 'failed',
    code: 'composer-failed',
    message: 'cannot compose the generation: internal error of the composer',
    hint: 'please report it; the log says where it is',
  };
}
