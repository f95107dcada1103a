import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Outcome } from '../../../src/system/run.ts';
import { jobOf, serviceState, unitOf } from '../../../src/system/systemd-job.ts';

const CGROUP = '0::/system.slice/system-secretsfs.slice/secretsfs@web.service\n';

test('unitOf() is the service of a control group, also from a group of its own below', () => {
  assert.equal(unitOf(CGROUP), 'secretsfs@web.service');
  assert.equal(unitOf('0::/system.slice/secretsfs@web.service/secretsfs-web\n'), 'secretsfs@web.service');
  assert.equal(unitOf('4:memory:/a.service\n1:name=systemd:/system.slice/b.service\n'), 'b.service');
  assert.equal(unitOf('0::/user.slice/user-0.slice/session-1.scope\n'), undefined);
  assert.equal(unitOf('0::/system.slice/-x.service\n'), undefined);
  assert.equal(unitOf(''), undefined);
});

test('jobOf() finds the unit among jobs', () => {
  const listed = '  12 nginx.service         stop    waiting\n 1234 secretsfs@web.service restart running\n';
  assert.equal(jobOf(listed, 'secretsfs@web.service'), 'restart');
  assert.equal(jobOf(listed, 'secretsfs@other.service'), undefined);
  assert.equal(jobOf('', 'x.service'), undefined);
});

const said = (stdout: string, code = 0): Outcome => {
  return { code, stdout, stderr: '', found: true, timedOut: false };
};

async function stateOf(jobs: Outcome, kept: Outcome) {
  const asked: string[] = [];
  const run = async (command: string, args: readonly string[]) => {
    asked.push([command, ...args].join(' '));
    return args[0] === 'show' ? kept : jobs;
  };
  return { state: await serviceState({ cgroup: async () => CGROUP, run }), asked };
}

test('serviceState() has the job and what systemd keeps; what it can not learn is undefined', async () => {
  const job = said('7 secretsfs@web.service restart running\n');
  const { state, asked } = await stateOf(job, said('3\n'));
  assert.deepEqual(state, { job: 'restart', descriptors: 3 });
  assert.ok(asked.every((line) => /^systemctl (list-jobs|show) .*secretsfs@web\.service$/.test(line)));
  assert.deepEqual((await stateOf(said(''), said('0'))).state, { job: undefined, descriptors: 0 });
  for (const [jobs, kept] of [
    [said('', 1), said('3')],
    [job, { ...said('3'), code: undefined }],
    [job, said('')],
    [job, said('many')],
  ] as const) {
    assert.equal((await stateOf(jobs, kept)).state, undefined);
  }
  const run = async () => assert.fail('there is no unit to ask for');
  assert.equal(await serviceState({ cgroup: async () => '0::/', run }), undefined);
  assert.equal(await serviceState({ cgroup: () => Promise.reject(new Error('no')), run }), undefined);
});
