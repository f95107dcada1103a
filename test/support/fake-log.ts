/** A log that remembers. */
import type { Log } from '../../src/daemon/log.ts';

export class FakeLog implements Log {
  readonly lines: { readonly level: string; readonly event: string; readonly fields: unknown }[] = [];
  readonly info = this.#at('info');
  readonly warn = this.#at('warn');
  readonly error = this.#at('error');

  get events(): string[] {
    return this.lines.map(({ event }) => event);
  }

  #at(level: string): Log['info'] {
    return (event, fields) => {
      this.lines.push({ level, event, fields });
    };
  }
}
