/** Two ends of one connection. */
import { connect, createServer, type Socket } from 'node:net';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryDirectory } from './temporary.ts';

export async function socketPair(t: Pick<TestContext, 'after'>): Promise<[Socket, Socket]> {
  const file = path.join(await temporaryDirectory(t), 'pair.sock');
  const server = createServer();
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  await new Promise<void>((resolve) => server.listen(file, resolve));
  const one = connect(file);
  const two = await accepted;
  server.close();
  for (const socket of [one, two]) socket.on('error', () => undefined);
  t.after(() => {
    one.destroy();
    two.destroy();
  });
  return [one, two];
}
