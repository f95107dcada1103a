/** What runs one after the other, in the order in which it was asked for. */

export class Turns {
  readonly #onSettled: () => void;
  #last: Promise<unknown> = Promise.resolve();
  #pending = 0;

  /** `onSettled`: after each, however it ended. */
  constructor(onSettled: () => void = () => {}) {
    this.#onSettled = onSettled;
  }

  /** Nothing runs, and nothing waits to. */
  get isIdle(): boolean {
    return this.#pending === 0;
  }

  /** Runs it when everything before it has settled; settles as it does. */
  take<T>(run: () => Promise<T>): Promise<T> {
    this.#pending++;
    const counted = () =>
      run().finally(() => {
        this.#pending--;
        this.#onSettled();
      });
    const result = this.#last.then(counted, counted);
    this.#last = result;
    return result;
  }

  /** Resolves when all that was asked for until now has settled. */
  async settled(): Promise<void> {
    await this.#last.catch(() => undefined);
  }
}
