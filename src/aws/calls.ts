/** Counts the calls of a client, each with its retries as one, and what they came to. */
import type { MiddlewareStack } from '@smithy/types';
import {
  type CallOutcome,
  type CallTotal,
  failureOutcome,
  operationOf,
  type Service,
} from '../metrics/calls.ts';
import { nameOf, statusOf, THROTTLED } from './errors.ts';

/** S3's name for too many requests; it says 503 with it. */
const S3_THROTTLED = 'SlowDown';

/** `onCall` is told of each that was answered, or not: one that was given up on our side is none. */
export function countCalls<I extends object, O extends object>(
  client: { readonly middlewareStack: MiddlewareStack<I, O> },
  service: Service,
  onCall: (call: CallTotal) => void,
): void {
  client.middlewareStack.add(
    (next, { commandName = '' }) =>
      async (args) => {
        const begunMs = performance.now();
        const count = (outcome: CallOutcome) => {
          const seconds = (performance.now() - begunMs) / 1000;
          onCall({
            service,
            operation: operationOf(commandName.replace(/Command$/, '')),
            outcome,
            count: 1,
            seconds,
          });
        };
        try {
          const answer = await next(args);
          count('ok');
          return answer;
        } catch (error) {
          const name = nameOf(error);
          const isThrottled = THROTTLED.has(name) || name === S3_THROTTLED;
          if (name !== 'AbortError') count(failureOutcome(statusOf(error), name, isThrottled));
          throw error;
        }
      },
    { step: 'initialize', name: 'countCalls', priority: 'high' },
  );
}
