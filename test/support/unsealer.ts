/** Runs the unsealer as the supervisor does: a process with exactly its descriptors, over plain files. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import path from 'node:path';
import { Channel } from '../../src/daemon/channel.ts';
import { PARENT_VARIABLE } from '../../src/daemon/roles.ts';
import {
  FILES_VARIABLE,
  type OpenedResult,
  type UnsealerTask,
  unseal,
} from '../../src/daemon/unsealer-channel.ts';
import { REPOSITORY } from './paths.ts';

const PROGRAM = path.join(REPOSITORY, 'build', 'src', 'processes', 'unsealer.js');

export interface Unsealing {
  readonly task: UnsealerTask;
  /** Where image and changes are written; they are made. */
  readonly image: string;
  readonly changes: string;
  readonly previous?: string | undefined;
  /** From descriptor 7 on. */
  readonly files?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly killAfterMs?: number;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly program?: string;
}

export type Unsealed = Awaited<ReturnType<typeof unseal>>;

/** Resolves and rejects as unseal() does. */
export async function runUnsealer(unsealing: Unsealing): Promise<Unsealed> {
  const { task, image, changes, previous, files = [], env = {}, killAfterMs } = unsealing;
  const fds = [
    openSync(image, 'w+', 0o600),
    openSync(changes, 'w', 0o600),
    openSync(previous ?? '/dev/null', 'r'),
    ...files.map((file) => openSync(file, 'r')),
  ];
  const child = spawn(process.execPath, [unsealing.program ?? PROGRAM], {
    stdio: ['ignore', 'ignore', 'inherit', 'pipe', ...fds],
    env: {
      ...env,
      PATH: process.env['PATH'],
      [PARENT_VARIABLE]: `${process.pid}`,
      [FILES_VARIABLE]: `${files.length}`,
    },
  });
  for (const fd of fds) closeSync(fd);
  if (killAfterMs !== undefined) setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  return unseal(
    {
      channel: new Channel(child.stdio[3] as Socket),
      exited: new Promise((resolve) => {
        child.once('exit', (code, signal) =>
          resolve({ code: code ?? undefined, signal: signal ?? undefined }),
        );
      }),
      kill: () => child.kill('SIGKILL'),
    },
    task,
    {
      timeoutMs: unsealing.timeoutMs ?? 30_000,
      silenceMs: 30_000,
      signal: unsealing.signal ?? new AbortController().signal,
    },
  );
}

/** The same, insisting on an opened bundle. */
export async function mustOpen(unsealing: Unsealing): Promise<OpenedResult & { readonly bytes: Buffer }> {
  const result = await runUnsealer(unsealing);
  if (result.outcome !== 'opened') throw new Error(`the outcome is ${result.outcome}`);
  return { ...result, bytes: readFileSync(unsealing.image) };
}
