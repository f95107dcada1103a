import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { promptTwice } from '../../../src/cli/prompt.ts';
import { refusal } from '../../support/bundles.ts';

/** A terminal at which `lines` are typed, each once it is asked for. What it was handed must be wiped. */
class Typist extends EventEmitter {
  shown = '';
  isRaw = false;
  readonly chunks: Buffer[] = [];
  readonly #lines: (Buffer | 'gone')[];

  constructor(lines: readonly (string | Buffer)[]) {
    super();
    this.#lines = lines.map((line) => (line === 'gone' ? line : Buffer.from(line)));
  }
  setRawMode(isRaw: boolean): never {
    this.isRaw = isRaw;
    return undefined as never;
  }
  resume(): this {
    const line = this.#lines.shift();
    setImmediate(() => {
      assert.equal(this.isRaw, true, 'what is typed would be shown');
      if (line === 'gone' || line === undefined) return this.emit('end');
      // Byte by byte, as it is typed.
      for (let at = 0; at < line.length && this.listenerCount('data') > 0; at++) {
        const chunk = Buffer.from(line.subarray(at, at + 1));
        this.chunks.push(chunk);
        this.emit('data', chunk);
      }
      return true;
    });
    return this;
  }
  pause(): this {
    return this;
  }
  write(text: string): boolean {
    this.shown += text;
    return true;
  }
}

async function typed(...lines: (string | Buffer)[]): Promise<{ value: Buffer; typist: Typist }> {
  const typist = new Typist(lines);
  try {
    return { value: await promptTwice(typist as never, typist, '"db"'), typist };
  } finally {
    assert.equal(typist.isRaw, false, 'the terminal is left as it was');
    assert.equal(typist.listenerCount('data') + typist.listenerCount('end'), 0);
    assert.ok(
      typist.chunks.every((chunk) => chunk[0] === 0),
      'what was handed over is wiped',
    );
  }
}

test('a value that is typed twice is the value, and is not shown', async () => {
  const { value, typist } = await typed('s3cret pass\r', 's3cret pass\n');
  assert.equal(value.toString(), 's3cret pass');
  assert.equal(typist.shown, 'value of "db" (not shown): \nthe same again: \n');
});

test('backspace takes back a character, of several bytes too, and ^U all of them', async () => {
  const { value } = await typed('xy\x7fé\x7f\x08a\x7f\x7f\x7fné€\x7f\r', 'wrong\x15né\r');
  assert.equal(value.toString(), 'né');
});

test('two values that differ are refused, and neither is in the message', async () => {
  await assert.rejects(typed('one-value\r', 'two-value\r'), (error: Error) => {
    refusal('usage', /differ/)(error);
    assert.doesNotMatch(`${error.message}${(error as { hint?: string }).hint}`, /one-value|two-value/);
    return true;
  });
});

test('^C, ^D and a terminal that goes away end it, at either question', async () => {
  for (const lines of [['a\x03'], ['a\x04'], ['gone'], ['a\r', 'a\x03'], ['a\r', 'gone']]) {
    await assert.rejects(typed(...lines), refusal('output-failed', /interrupted|gone/));
  }
});

test('more than a terminal line holds is refused, and what fits is taken', async () => {
  const long = 'x'.repeat(4096);
  assert.equal((await typed(`${long}\r`, `${long}\r`)).value.length, 4096);
  assert.equal((await typed(`${long}\x7fy\r`, `${long}\x7fy\r`)).value.at(-1), 0x79);
  await assert.rejects(typed(`${long}x\r`), refusal('usage', /4096/));
});
