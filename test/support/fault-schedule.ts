/**
 * Schedules of faults and rotations: what happens to a mount, step by step, all of it from a seed, so that what failed once can
 * be had again. A fault meets the next requests of its kind, and is over then.
 */
import type { Fault } from './fault-proxy.ts';
import { seeded } from './virtual-time.ts';

export type Step =
  /** A bundle of a new, higher serial; or one that must not go live. */
  | { readonly do: 'upload'; readonly what: 'good' | 'garbage' | 'old' | 'other-name' | 'cut' }
  | {
      readonly do: 'fault';
      readonly at: 'HEAD' | 'GET' | 'Decrypt';
      readonly times: number;
      readonly fault: Fault;
    }
  | { readonly do: 'pause'; readonly ms: number };

const error = (status: number, code: string): Fault => ({ kind: 'error', status, code });
const OF_ALL: readonly Fault[] = [error(500, 'InternalError'), { kind: 'reset' }];
const OF_S3: readonly Fault[] = [
  ...OF_ALL,
  error(503, 'SlowDown'),
  error(503, 'ServiceUnavailable'),
  error(403, 'AccessDenied'),
  error(400, 'ExpiredToken'),
  error(403, 'RequestTimeTooSkewed'),
  error(404, 'NoSuchKey'),
];
const BODIES: readonly Fault[] = [
  ...Array.from({ length: 10 }, (_, i): Fault => ({ kind: 'spoil', how: 'cut', part: i / 10 })),
  { kind: 'spoil', how: 'flip', part: 0.05 },
  { kind: 'spoil', how: 'flip', part: 0.5 },
  { kind: 'spoil', how: 'longer', part: 1 },
  { kind: 'answer', status: 200, headers: { etag: '"garbage"' }, body: 'garbage' },
];
const OF_KMS: readonly Fault[] = [
  ...OF_ALL,
  error(400, 'ThrottlingException'),
  error(400, 'AccessDeniedException'),
  error(400, 'DisabledException'),
  error(400, 'KMSInvalidStateException'),
  error(400, 'IncorrectKeyException'),
  error(400, 'ExpiredTokenException'),
  {
    kind: 'answer',
    status: 200,
    headers: { 'content-type': 'application/x-amz-json-1.1' },
    body: '{"Plaintext":',
  },
];
/** Costs the time limit of a request: rare. */
const STALL: Fault = { kind: 'stall' };
const STALLS = 0.03;
const BAD = ['garbage', 'old', 'other-name', 'cut'] as const;
const STEPS_MAX = 8;

/** At least one good upload is among the steps. */
export function scheduleOf(seed: number): readonly Step[] {
  const random = seeded(seed);
  const below = (end: number) => Math.floor(random() * end);
  const pick = <T>(of: readonly T[]): T => of[below(of.length)] as T;
  const steps: Step[] = [];
  const count = 3 + below(STEPS_MAX - 3);
  for (let i = 0; i < count; i++) {
    const kind = random();
    if (kind < 0.25) steps.push({ do: 'upload', what: 'good' });
    else if (kind < 0.35) steps.push({ do: 'upload', what: pick(BAD) });
    else if (kind < 0.9) steps.push(faultOf(pick(['HEAD', 'GET', 'GET', 'Decrypt', 'Decrypt'] as const)));
    else steps.push({ do: 'pause', ms: 50 + below(400) });
  }
  steps.splice(below(steps.length + 1), 0, { do: 'upload', what: 'good' });
  return steps;

  function faultOf(at: 'HEAD' | 'GET' | 'Decrypt'): Step {
    const faults = at === 'Decrypt' ? OF_KMS : at === 'HEAD' || random() < 0.4 ? OF_S3 : BODIES;
    const fault = random() < STALLS ? STALL : pick(faults);
    // What is refused for its bytes is tried once more, not twice.
    return {
      do: 'fault',
      at,
      times: fault.kind === 'error' || fault.kind === 'reset' ? 1 + below(3) : 1,
      fault,
    };
  }
}
