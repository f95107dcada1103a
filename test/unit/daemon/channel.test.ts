import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { Channel, ChannelError, LINE_BYTES_MAX } from '../../../src/daemon/channel.ts';

/** What the other side would read, and a way to say something. */
function pair() {
  const sent: string[] = [];
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      sent.push(chunk.toString());
      done();
    },
  });
  return { channel: new Channel(stream), sent, stream, say: (text: string | Buffer) => stream.push(text) };
}

test('a channel takes lines however they are cut, in their order', async () => {
  const { channel, say } = pair();
  const bytes = Buffer.from('{"a":"é"}\n{"b":2}\n{"c":3}\n');
  for (const byte of bytes) say(Buffer.from([byte]));
  assert.deepEqual(await channel.receive(), { a: 'é' });
  assert.deepEqual(await channel.receive(), { b: 2 });
  assert.deepEqual(await channel.receive(), { c: 3 });
});

for (const [what, bytes] of [
  ['a line that is not JSON', '{"a":\n'],
  ['a line that is not UTF-8', Buffer.from([0x22, 0xff, 0x22, 0x0a])],
  ['a line that is no object', '[1]\n'],
  ['null', 'null\n'],
  ['a line that is too long', Buffer.alloc(LINE_BYTES_MAX + 1, 0x20)],
  ['more lines than anybody can listen to', '{}\n'.repeat(1001)],
] as const) {
  test(`a channel ends at ${what}, without quoting it`, async () => {
    const { channel, say, stream } = pair();
    say(bytes);
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(stream.destroyed);
    while (what.startsWith('more')) if ((await channel.receive().catch(() => undefined)) === undefined) break;
    await assert.rejects(channel.receive(), (error) => {
      return error instanceof ChannelError && !error.message.includes('"') && error.message.length < 60;
    });
  });
}

test('receive() rejects when the other side is gone, after what it said', async () => {
  const { channel, say } = pair();
  say('{"a":1}\n');
  say(null as never);
  assert.deepEqual(await channel.receive(), { a: 1 });
  await assert.rejects(channel.receive(), /gone/);
  channel.send({ nobody: true });
});

test('the synchronous side speaks the same, over a real socket', async (t) => {
  const module = new URL('../../../src/daemon/channel.js', import.meta.url).href;
  const script = `const { SyncChannel } = await import(${JSON.stringify(module)});
    const channel = new SyncChannel(3);
    for (let m = channel.receive(); m !== undefined; m = channel.receive()) {
      if (m.big) channel.send({ big: 'x'.repeat(m.big) }); else channel.send({ got: m });
    }
    process.exit(7);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const channel = new Channel(child.stdio[3] as unknown as Duplex);
  channel.send({ n: 1 });
  channel.send({ n: 'é' });
  assert.deepEqual(await channel.receive(), { got: { n: 1 } });
  assert.deepEqual(await channel.receive(), { got: { n: 'é' } });
  channel.send({ big: 200_000 });
  const { big } = await channel.receive();
  assert.equal((big as string).length, 200_000);
  const long = 'y'.repeat(200_000);
  channel.send({ long });
  assert.deepEqual(await channel.receive(), { got: { long } });
  channel.close();
  assert.equal(await exited, 7);
});
