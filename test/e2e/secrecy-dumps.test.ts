/** A process of a mount that crashes leaves no core dump, whatever the machine does with those. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startHolder } from '../support/holder.ts';
import { eventually, must } from '../support/program.ts';
import {
  canary,
  type MountProcess,
  ROLES,
  SecretMount,
  secretFile,
  untilGone,
} from '../support/secret-mount.ts';

const CORE_PATTERN = '/proc/sys/kernel/core_pattern';
const SIGNALS = ['SIGSEGV', 'SIGABRT'] as const;
/** What a dump takes to be written; that there is one is seen by the control, which comes last. */
const SETTLE_MS = 500;

/** The machine's own is back after the test, however it ends. */
function setCorePattern(t: TestContext, pattern: string): void {
  const before = readFileSync(CORE_PATTERN, 'utf8');
  const restore = () => writeFileSync(CORE_PATTERN, before);
  process.once('exit', restore);
  t.after(() => {
    restore();
    process.off('exit', restore);
  });
  writeFileSync(CORE_PATTERN, pattern);
}

for (const how of ['a file', 'a program'] as const) {
  test(`no process of a mount dumps core, where dumps go to ${how}`, async (t) => {
    const mount = await SecretMount.start(t, { notifier: true, entries: secretFile(canary()) });
    const { bench } = mount;
    const after = bench.after.bind(bench);
    const directory = bench.path('cores');
    await mkdir(directory);
    writeFileSync(bench.path('take'), `#!/bin/sh\nexec cat >"${directory}/core.$1"\n`);
    chmodSync(bench.path('take'), 0o755);
    // Not refused by what the tests were started with: the processes must refuse it themselves.
    const { pid } = process;
    await must('prlimit', ['--pid', `${pid}`, '--core=unlimited:unlimited']);
    setCorePattern(t, how === 'a file' ? `${directory}/core.%p` : `|${bench.path('take')} %p`);

    const crashed: MountProcess[] = [];
    const crash = async (role: string, pid: number, signal: NodeJS.Signals) => {
      process.kill(pid, signal);
      try {
        // One that was stopped takes it only then.
        process.kill(pid, 'SIGCONT');
      } catch {
        // It is gone already.
      }
      await untilGone(pid, 60_000);
      crashed.push({ role, pid });
    };
    for (const signal of SIGNALS) {
      for (const role of ROLES) {
        if (role === 'teller') await mount.rotate(secretFile(canary()));
        if (role !== 'supervisor') await crash(role, await mount.pidOf(role), signal);
      }
      await crash('unsealer', await mount.stoppedUnsealer(canary()), signal);
    }
    await crash('supervisor', mount.supervisor, 'SIGSEGV');

    const secret = canary();
    const holder = await startHolder(after, secret, { directory: bench.directory });
    process.kill(holder.pid, 'SIGSEGV');
    const core = `${directory}/core.${holder.pid}`;
    await eventually(async () => {
      assert.ok(existsSync(core), 'the control left no dump');
      const { size } = statSync(core);
      await sleep(SETTLE_MS);
      assert.equal(statSync(core).size, size);
      assert.ok(readFileSync(core).includes(secret));
    }, 30_000);
    const dumps = readdirSync(directory);
    const dumped = crashed.filter(({ pid }) => dumps.includes(`core.${pid}`)).map(({ role }) => role);
    // A shell can't forbid what no limit forbids. It has nothing (docs/threat-model.md).
    const harmless = how === 'a program' ? ['prober'] : [];
    assert.deepEqual(
      dumped.filter((role) => !harmless.includes(role)),
      [],
    );
    assert.equal(crashed.length, SIGNALS.length * ROLES.length + 1);
  });
}
