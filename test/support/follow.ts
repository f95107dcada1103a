/** Does what a document says to do: its steps in one bash, in a directory of a bench, where `secretsfs` is the program. */
import assert from 'node:assert/strict';
import { mkdir, symlink } from 'node:fs/promises';
import { PROGRAM } from './paths.ts';
import { type Bench, run } from './program.ts';
import { patient } from './slowness.ts';
import { plain, SEPARATOR, type Step, scriptOf } from './steps.ts';

const MS_MAX = patient(120_000);

/**
 * `before`: bash, run first. What a step shows must be what it prints, but for what differs from run to run. Nothing that the
 * steps started outlives it.
 */
export async function follow(bench: Bench, steps: readonly Step[], before = ''): Promise<void> {
  await mkdir(bench.path('bin'));
  await symlink(PROGRAM, bench.path('bin/secretsfs'));
  const work = bench.path('try');
  await mkdir(work);
  bench.after(async () => {
    await bench.secretsfs(['unmount']);
  });
  const env = { ...bench.env, PATH: `${bench.path('bin')}:${process.env['PATH']}`, LC_ALL: 'C' };
  // Of its own process group, which timeout ends as a whole.
  const script = `${before}\n${scriptOf(steps)}\nwait`;
  const args = ['--kill-after=5', String(MS_MAX / 1000), 'bash', '-c', script];
  const { code, stdout, stderr } = await run('timeout', args, { env, cwd: work, timeoutMs: MS_MAX + 10_000 });
  const outputs = Buffer.from(stdout, 'latin1').toString().split(SEPARATOR).slice(1);
  assert.equal(code, 0, `${steps[outputs.length - 1]?.command} failed: ${outputs.at(-1)}${stderr}`);
  assert.equal(outputs.length, steps.length);
  for (const [i, { command, shown }] of steps.entries()) {
    if (shown.length === 0) continue;
    const printed = (outputs[i] ?? '').replaceAll(work, '/root/try').trimEnd().split('\n');
    // For some seconds after a generation went live notifier and teller are there, and what was live before.
    const lines = printed.filter((line) => !/^ {2}(process {5}(notifier|teller)|lingering) /.test(line));
    assert.deepEqual(lines.map(plain), shown.map(plain), command);
  }
}
