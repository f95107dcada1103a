/** What a daemon tells systemd: sd_notify(3). */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { type Bench, eventually } from './program.ts';

/** Writes down each datagram that comes: Node can't listen on this kind of socket. */
const LISTENER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
while True:
    for line in s.recv(4096).decode().split("\\n"):
        print(line, flush=True)
`;

export interface Listener {
  /** For NOTIFY_SOCKET. */
  readonly path: string;
  /** Everything so far. */
  said(): string;
}

export async function listenAsSystemd(bench: Bench): Promise<Listener> {
  const path = bench.path('notify');
  const listener = spawn('python3', ['-c', LISTENER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  bench.after(async () => listener.kill('SIGKILL'));
  let said = '';
  listener.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    said += chunk;
  });
  await eventually(async () => assert.match(said, /^bound/));
  return { path, said: () => said };
}

/** Waits for one datagram with one descriptor; prints what it says and which file it is, and writes into that. */
const RECEIVER = `
import array, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
message, control, flags, _ = s.recvmsg(4096, socket.CMSG_SPACE(64))
fds = array.array("i")
for level, kind, data in control:
    assert level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS
    fds.frombytes(data)
for fd in fds:
    os.write(fd, b"received")
print(repr(message.decode()), len(fds), flush=True)
`;

/** A socket that is sent one datagram. */
export async function receiveOne(
  t: Pick<TestContext, 'after'>,
  path: string,
): Promise<{ said(): Promise<string> }> {
  const receiver = spawn('python3', ['-c', RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => receiver.kill('SIGKILL'));
  const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, 'bound');
  return { said: async () => (await lines.next()).value ?? '' };
}
