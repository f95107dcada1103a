/** Trials that come to nothing, of an image in a store and with the program's own processes: nothing is left of them. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { trialProcesses } from '../../src/daemon/processes.ts';
import { type TrialCheck, tryCandidate } from '../../src/daemon/trial.ts';
import { planGeneration } from '../../src/generation/build.ts';
import { RamfsStore } from '../../src/store/ramfs.ts';
import { resolveProcessUsers } from '../../src/system/process-users.ts';
import { refusal } from '../support/bundles.ts';
import { file, imageOf } from '../support/entries.ts';
import { FakeLog } from '../support/fake-log.ts';
import { PROGRAM } from '../support/paths.ts';
import { childrenOf } from '../support/processes.ts';
import { eventually } from '../support/program.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const ROOT = { name: 'root', uid: 0, gid: 0, home: '/root' };
const ID = 1;

function rightImage(): Buffer {
  const entries = [file('a', 'content')];
  return imageOf(
    planGeneration(entries, {
      id: ID,
      serial: 1,
      nowSeconds: 1_000_000,
      previous: undefined,
      preserve: false,
    }),
  );
}

interface Trying {
  readonly image?: Buffer;
  readonly mountpoint?: string;
  readonly check?: Partial<TrialCheck>;
  readonly signal?: AbortSignal;
}

/** Tries an image, by default a right one; and looks whether something is left. */
async function trying(t: TestContext, { image, mountpoint, check, signal }: Trying) {
  const users = await resolveProcessUsers({ instance: 'trial-test' });
  const directory = await temporaryDirectory(t);
  const store = RamfsStore.create({ serverUid: users.server.uid, serverGid: users.server.gid });
  t.after(() => store.close());
  const { imageFd: writeFd, changesFd } = store.createCandidate(ID);
  fs.writeSync(writeFd, image ?? rightImage());
  fs.closeSync(writeFd);
  fs.closeSync(changesFd);
  assert.ok(store.publish(ID));
  const imageFd = store.openPrevious(ID);
  t.after(() => fs.closeSync(imageFd));

  const log = new FakeLog();
  const left = () => ({ fds: fs.readdirSync('/proc/self/fd').length, children: childrenOf(process.pid) });
  const before = left();
  const user = users.server;
  const outcome = await tryCandidate(
    { id: ID, imageFd },
    [{ name: 'look', run: ['/bin/cat', `${directory}/a`], timeout: 20_000, user: ROOT, ...check }],
    {
      mountpoint: mountpoint ?? directory,
      source: 'trial',
      cache: 'none',
      fastOpen: false,
      preserve: false,
      user,
    },
    {
      ...trialProcesses(users, log, { rules: { current: [] }, directory: path.dirname(PROGRAM) }),
      log,
      nowMs: () => performance.now(),
    },
    signal ?? new AbortController().signal,
  ).then(
    () => undefined,
    (error: unknown) => error,
  );
  // Node closes the ends of its pipes a moment after a child has ended.
  await eventually(async () => assert.deepEqual(left(), before));
  assert.deepEqual(fs.readdirSync(directory), []);
  return { error: outcome, log };
}

test('a right image is served from its descriptor, and what a program says of it is told', async (t) => {
  const { error, log } = await trying(t, {});
  assert.equal(error, undefined);
  assert.deepEqual(log.events, ['check-output', 'check-passed']);
  assert.deepEqual(log.lines[0]?.fields, { check: 'look', stream: 'stdout', line: 'content' });
});

test('an image that the server can not read refuses the generation', async (t) => {
  const { error, log } = await trying(t, { image: Buffer.alloc(10_000, 'x') });
  assert.ok(refusal('generation-refused', /cannot activate the generation: invalid/)(error));
  assert.deepEqual(
    log.events.filter((event) => event.startsWith('check-')),
    [],
  );
});

test('a trial that can not be set up, or is not wanted any more, is check-exec', async (t) => {
  const missing = await trying(t, { mountpoint: '/nonexistent/mountpoint' });
  assert.ok(refusal('check-exec', /it could not be tried: ENOENT$/)(missing.error));
  const aborted = await trying(t, { signal: AbortSignal.abort() });
  assert.ok(refusal('check-exec', /the mount is stopping/)(aborted.error));
  assert.deepEqual(aborted.log.events, []);
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 1_500);
  const stopped = await trying(t, { check: { run: ['/bin/sleep', '1000'] }, signal: abort.signal });
  assert.ok(refusal('check-exec', /the mount is stopping/)(stopped.error));
});

test('of what a failing program says, the refusal has one line, the first that speaks of an error, escaped and cut', async (t) => {
  const said = (text: string) => trying(t, { check: { run: ['/bin/sh', '-c', `printf '${text}'; exit 7`] } });
  const telling = await said('version 1\\n[ALERT] line 3 of \\033[31mx\\nmore errors\\n');
  assert.ok(
    refusal(
      'check-exec',
      /check "look" ended with code 7: "\[ALERT\] line 3 of \\+u001b\[31mx"$/,
    )(telling.error),
  );
  const long = await said(`${'l'.repeat(2000)}\\nsecond`);
  assert.ok(refusal('check-exec', /ended with code 7: "l{200}…"$/)(long.error));
  const silent = await said('');
  assert.ok(refusal('check-exec', /ended with code 7$/)(silent.error));
});
