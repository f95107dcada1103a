/** What is known of one probe: which serial is served, which should be, since when, how long it took. Pure. */

/** What an agent found out, or why not. */
export interface ProbeAnswer {
  /** As serialOf() writes it. */
  readonly serial: string | null;
  /** A code, for people. */
  readonly error: string | null;
}

export interface ProbeStatus {
  readonly servedSerial: string | null;
  readonly expectedSerial: string | null;
  /** Since when that serial is served, ISO 8601. */
  readonly since: string | null;
  readonly propagationMs: number | null;
  readonly checked: string | null;
  readonly error: string | null;
}

/** unknown: nothing was asked yet, or nothing can be expected. */
export type ProbeVerdict = 'served' | 'wrong' | 'unreachable' | 'unknown';

export class ProbeState {
  #expected: string | null = null;
  /** What the propagation is counted from. */
  #fromMs = 0;
  #served: string | null = null;
  #sinceMs = 0;
  #propagationMs: number | null = null;
  #checkedMs: number | undefined;
  #error: string | null = null;

  get verdict(): ProbeVerdict {
    if (this.#checkedMs === undefined || this.#expected === null) return 'unknown';
    if (this.#error !== null) return 'unreachable';
    return this.#served === this.#expected ? 'served' : 'wrong';
  }

  get served(): string | null {
    return this.#served;
  }

  get expected(): string | null {
    return this.#expected;
  }

  get propagationMs(): number | null {
    return this.#propagationMs;
  }

  get error(): string | null {
    return this.#error;
  }

  /** A generation went live. `serial` undefined: it has no such certificate. Unchanged, what is known of it stays. */
  expect(serial: string | undefined, fromMs: number): void {
    const expected = serial ?? null;
    if (expected === this.#expected) return;
    this.#expected = expected;
    this.#fromMs = fromMs;
    this.#propagationMs = null;
    this.#checkedMs = undefined;
  }

  record({ serial, error }: ProbeAnswer, nowMs: number): void {
    this.#checkedMs = nowMs;
    this.#error = serial === null ? (error ?? 'no answer') : null;
    // A server that is away for a moment has not changed what it serves.
    if (serial === null) return;
    if (serial !== this.#served) this.#sinceMs = nowMs;
    this.#served = serial;
    if (serial === this.#expected) this.#propagationMs ??= Math.max(0, Math.round(nowMs - this.#fromMs));
  }

  status(): ProbeStatus {
    const at = (ms: number) => new Date(ms).toISOString();
    return {
      servedSerial: this.#served,
      expectedSerial: this.#expected,
      since: this.#served === null ? null : at(this.#sinceMs),
      propagationMs: this.#propagationMs,
      checked: this.#checkedMs === undefined ? null : at(this.#checkedMs),
      error: this.#error,
    };
  }
}
