/** What a daemon tells systemd: sd_notify(3). */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
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
