/**
 * What `doctor` says, and what a check is. The ids and areas are an ABI (docs/doctor.md lists them): added to, never renamed.
 * A check looks and changes nothing; what it may not see is `unknown`, and then `fix` says how to see it. No text of a verdict
 * holds plaintext or keys; names out of bundles and files are quoted.
 */
import type { Subject } from './subject.ts';

export const AREAS = [
  'machine',
  'memory',
  'files',
  'systemd',
  'aws',
  'bucket',
  'key',
  'bundle',
  'servers',
  'mount',
] as const;
export type Area = (typeof AREAS)[number];

/** `problem`: a mount does not start, or does not hold what is promised. `warning`: it does, and one day something else will not. */
export type State = 'ok' | 'warning' | 'problem' | 'unknown';

export interface Verdict {
  readonly state: State;
  /** One line, in words. */
  readonly found: string;
  /** The command that mends it, or in words what does; of what is unknown, how to see it. Undefined where all is well. */
  readonly fix?: string;
}

export interface Finding {
  readonly id: string;
  readonly area: Area;
  readonly state: State;
  /** What was looked at. */
  readonly what: string;
  readonly found: string;
  readonly fix: string | null;
}

export interface Check {
  readonly id: string;
  readonly area: Area;
  readonly what: string;
  /** undefined, or none: it has no say about this subject. What is thrown becomes `unknown`. */
  run(subject: Subject): Promise<Verdict | readonly Verdict[] | undefined>;
}

export const ok = (found: string): Verdict => ({ state: 'ok', found });
export const warning = (found: string, fix: string): Verdict => ({ state: 'warning', found, fix });
export const problem = (found: string, fix: string): Verdict => ({ state: 'problem', found, fix });
export const unknown = (found: string, fix: string): Verdict => ({ state: 'unknown', found, fix });
