/** How many bytes may be worked on at once. Who asks for more than all of them gets them alone. */
export class ByteBudget {
  readonly #bytesMax: number;
  #taken = 0;
  readonly #waiting: { readonly bytes: number; readonly resolve: () => void }[] = [];

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Resolves when they are to be had; in the order of asking. */
  async take(bytes: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#waiting.push({ bytes, resolve });
      this.#serve();
    });
  }

  /** The same number that was taken. */
  give(bytes: number): void {
    this.#taken -= bytes;
    this.#serve();
  }

  #serve(): void {
    for (let [first] = this.#waiting; first !== undefined; [first] = this.#waiting) {
      if (this.#taken > 0 && this.#taken + first.bytes > this.#bytesMax) return;
      this.#taken += first.bytes;
      this.#waiting.shift();
      first.resolve();
    }
  }
}
