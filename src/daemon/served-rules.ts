/**
 * `files:` as servers are told it when they start. A server refuses what no rules explain; one that starts after other rules
 * were taken over meets the live generation, which the rules before explain, until one of the new rules is live.
 */
import { isDeepStrictEqual } from 'node:util';
import type { FileRule } from '../checks/ownership.ts';

export class ServedRules {
  #current: readonly FileRule[];
  /** Those that what is live was made by. */
  #live: readonly FileRule[];

  constructor(rules: readonly FileRule[]) {
    this.#current = rules;
    this.#live = rules;
  }

  get current(): readonly FileRule[] {
    return this.#current;
  }

  /** Those of what is live, where they are other ones. */
  get before(): readonly FileRule[] | undefined {
    return isDeepStrictEqual(this.#live, this.#current) ? undefined : this.#live;
  }

  /** What is live was made by these. */
  resumed(rules: readonly FileRule[]): void {
    this.#live = rules;
  }

  /** For servers that start, and generations that are made, from now on. */
  set(rules: readonly FileRule[]): void {
    this.#current = rules;
  }

  /** A generation that was made by the current ones is live. */
  activated(): void {
    this.#live = this.#current;
  }
}
