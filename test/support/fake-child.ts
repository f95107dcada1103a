/** A child that is none: what was said to it, and a way to let it speak and end. */
import { Duplex } from 'node:stream';
import { Channel, type Message } from '../../src/daemon/channel.ts';
import type { Child, Exit } from '../../src/daemon/children.ts';

let pids = 1000;

export class FakeChild implements Child {
  readonly role = 'notifier';
  readonly pid = pids++;
  readonly heard: Message[] = [];
  readonly signals: NodeJS.Signals[] = [];
  readonly channel: Channel;
  readonly exited: Promise<Exit>;
  /** Ends by a signal, as most do. */
  mortal = true;
  /** Its end ends its channel, too; else that is heard of later, or never. */
  closes = false;
  readonly #stream: Duplex;
  #exit: (how: Exit) => void = () => undefined;

  constructor() {
    const heard = this.heard;
    this.#stream = new Duplex({
      read() {},
      write(chunk: Buffer, _encoding, done) {
        for (const line of chunk.toString().trimEnd().split('\n')) heard.push(JSON.parse(line) as Message);
        done();
      },
    });
    this.channel = new Channel(this.#stream);
    this.exited = new Promise((resolve) => {
      this.#exit = resolve;
    });
  }

  say(message: Message | string): void {
    this.#stream.push(typeof message === 'string' ? message : `${JSON.stringify(message)}\n`);
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.signals.push(signal);
    if (this.mortal) this.end({ code: undefined, signal });
  }

  end(how: Exit = { code: 1, signal: undefined }): void {
    this.#exit(how);
    if (this.closes) this.#stream.push(null);
  }
}

/** What is due now has happened. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}
