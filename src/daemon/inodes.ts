/**
 * What the kernel holds of inodes, asked and told through the notifier, in lines that it can read. Each throws NoAnswer and
 * MountError, as Helper.ask() does.
 */
import { type Helper, NoAnswer } from './helper.ts';

/** In one line. */
const AT_ONCE = 4_096;
const NOTIFY_MS_MAX = 10_000;

export class Inodes {
  readonly #notifier: Pick<Helper, 'ask'>;

  constructor(notifier: Pick<Helper, 'ask'>) {
    this.#notifier = notifier;
  }

  /** Of these, those that it still holds; all of them where the notifier says what it should not. */
  async held(inodes: readonly number[]): Promise<readonly number[]> {
    const { held } = await this.#ask({ held: inodes });
    if (!Array.isArray(held)) return inodes;
    const asked = new Set(inodes);
    return held.filter((ino): ino is number => asked.has(ino));
  }

  /** No page of them is cached any more. */
  async dropPages(inodes: readonly number[]): Promise<void> {
    for (const drop of slices(inodes)) await this.#ask({ drop });
  }

  /** The same of all from `from` up to `to`, which is not; by a second notifier where one ends over it. */
  async dropRange(from: number, to: number): Promise<void> {
    const drop = () => this.#ask({ drop: { from, to } });
    await drop().catch((error: unknown) => {
      if (error instanceof NoAnswer && error.reason === 'ended') return drop();
      throw error;
    });
  }

  /** Their attributes are asked for again. */
  async dropAttributes(inodes: readonly number[]): Promise<void> {
    for (const attributes of slices(inodes)) await this.#ask({ attributes });
  }

  #ask(question: Readonly<Record<string, unknown>>) {
    return this.#notifier.ask(question, NOTIFY_MS_MAX);
  }
}

function* slices(inodes: readonly number[]): Iterable<readonly number[]> {
  for (let at = 0; at < inodes.length; at += AT_ONCE) yield inodes.slice(at, at + AT_ONCE);
}
