/** Calls of AWS services, counted. What a service answers is foreign, so it is told apart by a few kinds only. */

export const SERVICES = ['kms', 's3', 'sqs', 'sns'] as const;
export const OPERATIONS = [
  'Decrypt',
  'GetObject',
  'HeadObject',
  'ReceiveMessage',
  'DeleteMessageBatch',
  'CreateQueue',
  'SetQueueAttributes',
  'DeleteQueue',
  'Subscribe',
  'Unsubscribe',
  'other',
] as const;
/** `unreachable`: there was no answer. `not-modified`: what was asked for is what was known. */
export const CALL_OUTCOMES = [
  'ok',
  'not-modified',
  'not-found',
  'denied',
  'throttled',
  'refused',
  'server-error',
  'unreachable',
] as const;

export type Service = (typeof SERVICES)[number];
export type Operation = (typeof OPERATIONS)[number];
export type CallOutcome = (typeof CALL_OUTCOMES)[number];

export interface CallTotal {
  readonly service: Service;
  readonly operation: Operation;
  readonly outcome: CallOutcome;
  readonly count: number;
  readonly seconds: number;
}
/** There can't be more of them. */
export const CALL_TOTALS_MAX = SERVICES.length * OPERATIONS.length * CALL_OUTCOMES.length;

export class CallCounts {
  readonly #totals = new Map<string, CallTotal>();

  add(more: CallTotal): void {
    const key = `${more.service} ${more.operation} ${more.outcome}`;
    const { count, seconds } = this.#totals.get(key) ?? { count: 0, seconds: 0 };
    this.#totals.set(key, { ...more, count: count + more.count, seconds: seconds + more.seconds });
  }

  totals(): CallTotal[] {
    return [...this.#totals.values()];
  }
}

/** A name that is not in the list is `other`. */
export function operationOf(name: string): Operation {
  return OPERATIONS.find((known) => known === name) ?? 'other';
}

/** By the status of the answer, undefined where there was none, and by its name: KMS answers most with 400. */
export function failureOutcome(status: number | undefined, name: string, isThrottled: boolean): CallOutcome {
  if (isThrottled || status === 429) return 'throttled';
  if (status === undefined) return 'unreachable';
  if (status === 304) return 'not-modified';
  if (status === 404 || /NotFound|NoSuch/.test(name)) return 'not-found';
  if (status === 401 || status === 403 || name.includes('AccessDenied')) return 'denied';
  return status >= 500 ? 'server-error' : 'refused';
}
