/** Another supervisor goes on with the mount, under a real systemd: after kill -9, a restart, an upgrade; and none after a stop. */
import assert from 'node:assert/strict';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Handed, MOUNTPOINT, Readers, UNIT } from '../support/handed-mount.ts';
import { eventually } from '../support/program.ts';
import { patient } from '../support/slowness.ts';

const IS_SOAK = process.env['SECRETSFS_SOAK'] !== undefined;
const TIMES = 10;
const ROTATIONS = IS_SOAK ? TIMES : 5;

async function contentsOf(image: FileHandle): Promise<string> {
  const { size } = await image.stat();
  return (await image.read(Buffer.alloc(size), 0, size, 0)).buffer.toString('latin1');
}

function told(t: TestContext, what: string, stalls: readonly number[]): void {
  const sorted = [...stalls].sort((a, b) => a - b);
  const at = (share: number) =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0);
  t.diagnostic(`${what}: longest read of each, ms: p50 ${at(0.5)}, p95 ${at(0.95)}, max ${at(1)}`);
}

for (const settings of IS_SOAK ? [[], ['cache: none']] : [[]]) {
  test(`kill -9 of the supervisor and a restart cost no read: ${settings[0] ?? 'cache page'}`, async (t) => {
    const handed = await Handed.start(t, settings);
    const readers = new Readers(t, handed);
    const { live: first } = await handed.status();
    await readers.verified();
    for (const [what, act] of [
      ['kill -9', () => handed.killSupervisor()],
      ['systemctl restart', () => handed.systemd.must('systemctl', ['restart', UNIT])],
    ] as const) {
      const stalls: number[] = [];
      for (let i = 0; i < TIMES; i++) {
        await act();
        stalls.push(await readers.verified());
      }
      told(t, what, stalls);
    }
    const resumed = await handed.events('resumed');
    assert.equal(resumed.length, 2 * TIMES);
    t.diagnostic(`since the start of each process, ms: ${resumed.map(({ ms }) => ms).join(' ')}`);
    assert.equal((await handed.events('handed-over')).length, TIMES);
    assert.equal((await handed.events('unsealed')).length, 1, 'no bundle was opened for it');
    const { live } = await handed.status();
    assert.deepEqual({ ...live, activated: '' }, { ...first, activated: '' });
  });
}

test('systemctl stop unmounts and wipes, also what other supervisors had begun', async (t) => {
  const handed = await Handed.start(t);
  const image = await handed.openImage();
  t.after(() => image.close());
  // The control: this is where contents are, and they stay there from one supervisor to the next.
  await handed.systemd.must('systemctl', ['restart', UNIT]);
  assert.ok((await contentsOf(image)).includes('cert.pem:1;'));
  assert.equal(await handed.systemd.property(UNIT, 'NFileDescriptorStore'), '3');
  await handed.systemd.must('systemctl', ['stop', UNIT]);
  assert.equal((await contentsOf(image)).length, 0);
  assert.equal(await handed.isMounted(), false);
  assert.equal(await handed.systemd.property(UNIT, 'NFileDescriptorStore'), '0');
  assert.equal((await handed.events('stopped')).length, 1);
  assert.equal(await handed.systemd.property(UNIT, 'Result'), 'success');
});

test('a stop that finds no supervisor unmounts and wipes as well: between two, or while the next one starts', async (t) => {
  const handed = await Handed.start(t);
  const { systemd } = handed;
  const lefts = async () => (await handed.events('not-resumed')).length;
  const stopped = async (dropIn: string, act: () => Promise<unknown>) => {
    await handed.dropIn(dropIn);
    await systemd.must('systemctl', ['start', UNIT]);
    const image = await handed.openImage();
    assert.ok((await contentsOf(image)).includes('cert.pem:1;'));
    await act();
    await systemd.must('systemctl', ['stop', UNIT]);
    assert.equal((await contentsOf(image)).length, 0);
    assert.equal(await handed.isMounted(), false);
    await image.close();
    assert.equal(await systemd.property(UNIT, 'NFileDescriptorStore'), '0');
  };
  // The end of the one before, made longer.
  const pause = 'ExecStopPost=/bin/sh -c "[ ! -e /run/slow ] || sleep 2"';
  const own = (await systemd.must('systemctl', ['cat', UNIT])).match(/^ExecStopPost=.*?[^\\]\n/ms)?.[0];
  assert.match(own ?? '', /--left %i'$/m);
  await stopped(`ExecStopPost=\n${pause}\n${own}`, async () => {
    await systemd.write('/run/slow', '');
    await handed.kill();
    await handed.isIn('stop-post');
  });
  assert.equal(await lefts(), 1);
  await systemd.must('rm', ['/run/slow']);
  await stopped('ExecStartPre=/bin/sh -c "[ ! -e /run/slow ] || sleep 60"', async () => {
    await systemd.write('/run/slow', '');
    await handed.restartSoon();
    await handed.isIn('start-pre');
  });
  await systemd.must('rm', ['/run/slow']);
  assert.equal(await lefts(), 2);
  // Wherever it comes.
  for (const ms of IS_SOAK ? [0, 50, 100, 150, 200, 300, 400, 500, 700] : [20, 150]) {
    await stopped('', async () => {
      await handed.restartSoon();
      await sleep(ms);
    });
  }
});

test('a supervisor that is killed or restarted while it takes over, again and again, costs no read', async (t) => {
  const handed = await Handed.start(t);
  const readers = new Readers(t, handed);
  await readers.verified();
  const quiet = async () => {
    await handed.isIn('running');
    await readers.verified();
    assert.deepEqual(await handed.events('not-resumed'), []);
  };
  // Five in a second.
  for (let i = 0; i < 5; i++) {
    await handed.restartSoon();
    await sleep(200);
  }
  await quiet();
  for (const ms of IS_SOAK ? [150, 300, 450, 600, 750] : [350]) {
    for (const act of [() => handed.restartSoon(), () => handed.kill()]) {
      await act();
      await sleep(ms);
      await act();
      await quiet();
    }
  }
  assert.equal((await handed.events('unsealed')).length, 1, 'no bundle was opened for it');
  assert.equal((await handed.events('stopping')).length, 0);
});

test('what went live stays, with its serial, its floor and who has the one before it open; the next goes live; hooks are told once', async (t) => {
  const notes = '/run/told';
  const note = `echo "$SECRETSFS_SERIAL" >>${notes}; while [ ! -e /run/go ]; do sleep 0.1; done; echo over >>${notes}`;
  const hook = `hooks: [{ name: h, match: ['**'], run: [/bin/sh, -c, '${note}'] }]`;
  const handed = await Handed.start(t, [hook]);
  const { systemd } = handed;
  const readers = new Readers(t, handed);
  const old = await open(handed.path('cert.pem'));
  t.after(() => old.close());
  const live = async (serial: number) => {
    await eventually(async () => assert.equal((await handed.status()).live?.serial, serial), patient(20_000));
  };
  const told = async (): Promise<string[]> =>
    (await readFile(systemd.path(notes), 'utf8').catch(() => '')).split('\n').filter(Boolean);

  const second = await handed.put();
  await live(second);
  // While it tells.
  await eventually(async () => assert.deepEqual(await told(), [`${second}`]));
  await handed.killSupervisor();
  assert.equal((await handed.status()).live?.serial, second);
  assert.equal((await handed.status()).floor?.serial, second);
  // The one that was killed had not come to its end.
  await systemd.write('/run/go', '');
  await eventually(
    async () => assert.deepEqual(await told(), [`${second}`, `${second}`, 'over']),
    patient(20_000),
  );
  assert.equal((await handed.status()).lingering.length, 1);
  assert.equal((await old.read(Buffer.alloc(12), 0, 12, 0)).buffer.toString(), 'cert.pem 1\nc');

  await eventually(async () => assert.equal((await handed.status()).hooks?.[0]?.outcome, 'done'));
  // A look at the mount once a second notes that it was told.
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  await systemd.must('systemctl', ['restart', UNIT]);
  await readers.verified();
  await old.close();
  await eventually(async () => assert.equal((await handed.status()).lingering.length, 0), patient(20_000));

  const third = await handed.put();
  await live(third);
  await eventually(async () => assert.equal((await told()).length, 5), patient(20_000));
  assert.deepEqual((await told()).slice(3), [`${third}`, 'over']);
  assert.ok((await handed.status()).live?.id !== 1);
  await eventually(async () => {
    const seen = await readers.seen();
    assert.ok(seen.every(({ newest }) => newest === 3));
    assert.ok(seen.every(({ wentBack, failures }) => !wentBack && failures.length === 0));
  });
});

test('bundles that go live while supervisors are killed at any moment: no read fails, and the newest is there at the end', async (t) => {
  const handed = await Handed.start(t);
  const readers = new Readers(t, handed);
  const stalls: number[] = [];
  let serial = 0;
  for (let i = 0; i < ROTATIONS; i++) {
    serial = await handed.put();
    await new Promise((resolve) => setTimeout(resolve, 60 * i));
    await handed.killSupervisor();
    stalls.push(await readers.verified());
  }
  told(t, 'kill -9 in a rotation', stalls);
  await eventually(async () => assert.equal((await handed.status()).live?.serial, serial), patient(30_000));
  await eventually(async () => {
    const seen = await readers.seen();
    assert.ok(seen.every(({ newest, failures }) => newest === 1 + ROTATIONS && failures.length === 0));
  });
  assert.deepEqual(await handed.events('bug'), []);
});

test('several bundles go on as one does', async (t) => {
  const mounts = ['web', 'other'].map((name) => `${name}: { source: /etc/secretsfs/${name}.enc }`);
  const handed = await Handed.start(t, [`mounts: { ${mounts.join(', ')} }`]);
  const readers = new Readers(t, handed, 'other');
  await readers.verified();
  await handed.killSupervisor();
  await handed.systemd.must('systemctl', ['restart', UNIT]);
  await readers.verified();
  assert.equal((await handed.events('resumed')).length, 2);
  const serial = await handed.put();
  await eventually(async () => {
    const { parts = [] } = await handed.status();
    assert.deepEqual(
      parts.map(({ live }) => live?.serial),
      [serial, serial],
    );
  }, patient(20_000));
  await eventually(async () => {
    const seen = await readers.seen();
    assert.ok(seen.every(({ newest, failures }) => newest === 2 && failures.length === 0));
  });
});

test('a config that wants another mount ends the one that was: unmounted and wiped, then begun anew', async (t) => {
  const handed = await Handed.start(t);
  const { systemd } = handed;
  for (const [settings, why] of [
    [['mountpoint: /run/secrets/other'], 'another mountpoint is wanted'],
    [['uidBase: 1900000000'], 'another users is wanted'],
    [['cache: none'], 'another cache is wanted'],
  ] as const) {
    await handed.configure([]);
    await systemd.must('systemctl', ['restart', UNIT]);
    const image = await handed.openImage();
    const before = (await handed.events('not-resumed')).length;
    await handed.configure(settings);
    await systemd.must('systemctl', ['restart', UNIT]);
    const events = await handed.events('not-resumed');
    assert.deepEqual(
      events.slice(before).map((event) => event['why']),
      [why],
    );
    assert.equal((await contentsOf(image)).length, 0, why);
    await image.close();
    const isOther = settings[0].includes('other');
    assert.deepEqual(
      [await handed.isMounted(), await handed.isMounted('/run/secrets/other')],
      [!isOther, isOther],
    );
    assert.equal(await systemd.property(UNIT, 'NFileDescriptorStore'), '3');
  }
  // One that can't be mounted at all.
  const image = await handed.openImage();
  await handed.configure(['mountpoint: /no/such/place']);
  assert.notEqual((await systemd.run('systemctl', ['restart', UNIT])).code, 0);
  await eventually(async () => assert.equal((await contentsOf(image)).length, 0));
  assert.equal(await handed.isMounted(), false);
  await handed.configure(['no such setting: 1']);
  await image.close();
});

test('what can not be gone on with is not: a connection that was ended, a mount that somebody unmounted, a store that is none', async (t) => {
  const handed = await Handed.start(t);
  const { systemd } = handed;
  const stopped = async (act: () => Promise<unknown>, why: string) => {
    const before = (await handed.events('not-resumed')).length;
    const supervisor = await handed.supervisor();
    // It would notice by itself.
    await systemd.must('kill', ['-STOP', `${supervisor}`]);
    await act();
    await systemd.must('kill', ['-KILL', `${supervisor}`]);
    await handed.isFollowed(supervisor);
    assert.deepEqual(
      (await handed.events('not-resumed')).slice(before).map((event) => event['why']),
      [why],
    );
    assert.match(await readFile(handed.path('cert.pem'), 'latin1'), /^cert\.pem 1\n/);
  };
  await stopped(() => systemd.run('umount', ['-f', MOUNTPOINT]), 'the connection was ended');
  await stopped(() => systemd.must('umount', ['-l', MOUNTPOINT]), 'somebody else unmounted it');
  await stopped(async () => {
    const store = await handed.storePath();
    await systemd.must('chown', ['1', `${store}/control`]);
  }, 'the store is none of ours: its control has another owner, mode or size');
});
