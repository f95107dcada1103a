/** What SQS and SNS answer, and what a person is told of it. A queue only saves time: none of this stops a mount. */
import { quote, SecretsfsError, SourceError } from '../errors.ts';
import { answer, nameOf, networkTrouble, setupError, statusOf } from './errors.ts';

/** What to throw for an error of a call with a queue or a topic. An error that is not AWS's is returned as it is. */
export function queueError(error: unknown, what: string, name: string, action: string): unknown {
  if (error instanceof SecretsfsError) return error;
  const setup = setupError(error);
  if (setup !== undefined) return setup;
  const said = `cannot ${what} ${quote(name)}`;
  const code = nameOf(error);
  if (/QueueDeletedRecently/.test(code)) {
    return new SourceError(
      'queue-unreachable',
      `${said}: one of its name was removed within the last minute`,
      {
        hint: 'it is made once SQS allows it; bundles are found by polling meanwhile',
        cause: error,
      },
    );
  }
  if (/QueueDoesNotExist|NonExistentQueue|^NotFound/.test(code)) {
    return new SourceError('queue-missing', `${said}: there is none`, {
      hint: 'check its name, region and account; bundles are found by polling meanwhile',
      cause: error,
    });
  }
  const trouble = networkTrouble(error);
  if (trouble !== undefined) {
    return new SourceError('queue-unreachable', `${said}: ${trouble.what}`, {
      hint: trouble.hint ?? 'bundles are found by polling meanwhile',
      cause: error,
    });
  }
  if (statusOf(error) === 403 || /AccessDenied|AuthorizationError/.test(code)) {
    return new SourceError('queue-denied', `${said}: AWS answered ${answer(error)}`, {
      hint: `grant ${action} on it; bundles are found by polling meanwhile`,
      cause: error,
    });
  }
  if (statusOf(error) !== undefined) {
    return new SourceError('queue-unreachable', `${said}: AWS answered ${answer(error)}`, { cause: error });
  }
  return error;
}
