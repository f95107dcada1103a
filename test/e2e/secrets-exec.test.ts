/** A program that exec runs: what it gets, and what we get of it. And a person at a terminal. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { after, before, type TestContext, test } from 'node:test';
import { type Moto, startMoto } from '../support/moto.ts';
import { eventually } from '../support/program.ts';
import { patient } from '../support/slowness.ts';
import { refused, type StoreBench, storeBench, type, typed } from '../support/stores.ts';

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto?.stop());

test('the program has the secrets as variables, by the names of the docs, and nobody else has', async (t) => {
  const store = await storeBench(t, moto);
  await typed(
    store,
    'echo one | secretsfs put prod/db/password; echo two | secretsfs put prod/mail/password; echo app | secretsfs put prod/app/db_name',
  );
  await typed(store, 'printf "a\\nb\\n\\n" | secretsfs upload - prod/lines');
  const show = '-- sh -c \'env | grep -E "^(DB_|MAIL_|PASSWORD|PGPASSWORD|LINES|PROD)" | sort; true\'';
  const cases: [string, string][] = [
    ["'prod/db/*'", 'PASSWORD=one'],
    ["'prod/*/*'", 'DB_PASSWORD=one\nMAIL_PASSWORD=two'],
    ["'prod/db/*,prod/app/d*'", 'DB_NAME=app\nPASSWORD=one'],
    ['prod/db/password,prod/app/db_name', 'DB_NAME=app\nPASSWORD=one'],
    ['prod/db/ PGPASSWORD=prod/mail/password', 'PASSWORD=one\nPGPASSWORD=two'],
    ["'**/mail/password'", 'PROD_MAIL_PASSWORD=two'],
  ];
  for (const [patterns, expected] of cases) {
    assert.equal(await typed(store, `secretsfs exec ${patterns} ${show}`), expected, patterns);
  }
  assert.equal(
    await typed(store, 'secretsfs exec L=prod/lines -- sh -c \'printf %s "$L" | od -An -c\''),
    '   a  \\n   b  \\n',
  );
  // Its input and output are ours, what looks like an option of ours is the program's, and of its end we have the code.
  assert.equal(await typed(store, 'echo in | secretsfs exec prod/db/password -- cat --'), 'in');
  assert.equal(
    await typed(store, 'secretsfs exec prod/db/password -- echo --json --help --store -- x'),
    '--json --help --store -- x',
  );
  for (const code of [0, 1, 7, 255]) {
    assert.equal((await type(store, `secretsfs exec prod/db/password -- sh -c 'exit ${code}'`)).code, code);
  }
  // The parent of the program, which is secretsfs, has none of it in its environment.
  const parent = "cat /proc/$PPID/environ | tr '\\0' '\\n' | grep -c ^PASSWORD= || true";
  assert.equal(
    await typed(store, `secretsfs exec prod/db/password -- sh -c "${parent.replaceAll('$', '\\$')}"`),
    '0',
  );
});

test('what is larger than a variable may be is not read to its end, let alone opened', async (t) => {
  const store = await storeBench(t, moto);
  await typed(store, 'mkdir st; secretsfs keygen k; head -c 1000000 /dev/zero > st/large');
  const line = 'secretsfs exec L=large --store st --key local:k -- true';
  await refused(store, line, 'usage', /"large" as the variable L: it is larger than Linux takes/);
  await typed(
    store,
    'head -c 131000 /dev/zero | tr "\\0" x | secretsfs upload - fits --store st --key local:k',
  );
  await typed(store, 'secretsfs exec L=fits --store st --key local:k -- true');
});

/** `secretsfs exec` of a shell that says when it is there. */
function started(t: TestContext, { bench }: StoreBench, script: string) {
  const child = spawn(process.execPath, [bench.program, 'exec', 'a', '--', 'bash', '-c', `${script}`], {
    env: bench.env,
    cwd: bench.directory,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  const ended = new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    child.once('close', (code, signal) => resolve([code, signal]));
  });
  const said = (word: string) =>
    eventually(async () => assert.ok(out.includes(word), `it said ${out}`), patient(20_000));
  return { child, ended, said };
}

test('a signal reaches the program, and what ends it ends us', async (t) => {
  const store = await storeBench(t, moto);
  await typed(store, 'echo x | secretsfs put a');
  const wait = 'echo ready; while :; do sleep 0.05; done';
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR2'] as const) {
    // It takes it, and says so by its exit code.
    const taking = started(t, store, `trap 'exit 42' ${signal.slice(3)}; ${wait}`);
    await taking.said('ready');
    taking.child.kill(signal);
    assert.deepEqual(await taking.ended, [42, null], `${signal} was taken`);
  }
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR2'] as const) {
    const dying = started(t, store, wait);
    await dying.said('ready');
    dying.child.kill(signal);
    assert.deepEqual(await dying.ended, [null, signal], `${signal} ended it`);
  }
  // Its own end, by its own hand.
  assert.deepEqual(await started(t, store, 'kill -KILL $$').ended, [null, 'SIGKILL']);
  assert.deepEqual(await started(t, store, 'kill -USR1 $$').ended, [128 + 10, null]);
});

/**
 * A person at a terminal of her own: argv runs there, and each answer is typed when its question is shown. Prints as JSON
 * the exit code and everything that the terminal showed.
 */
const AT_TERMINAL = `
import json, os, pty, sys
answers = json.loads(sys.argv[1])
pid, fd = pty.fork()
if pid == 0: os.execvp(sys.argv[2], sys.argv[2:])
shown = b""
while True:
    if answers and answers[0][0].encode() in shown:
        asked, answer = answers.pop(0)
        os.write(fd, answer.encode())
    try: got = os.read(fd, 65536)
    except OSError: break
    if not got: break
    shown += got
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()]))
`;

async function atTerminal(
  store: StoreBench,
  answers: readonly (readonly [string, string])[],
  ...args: string[]
): Promise<{ code: number; shown: string }> {
  const { bench } = store;
  const quoted = [JSON.stringify(answers), process.execPath, bench.program, ...args];
  const child = spawn('python3', ['-c', AT_TERMINAL, ...quoted], {
    env: { ...bench.env, TERM: 'dumb' },
    cwd: bench.directory,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let out = '';
  for await (const chunk of child.stdout) out += String(chunk);
  const [code, shown] = JSON.parse(out) as [number, string];
  return { code, shown };
}

test('at a terminal put asks for the value twice, does not show it, and get shows it', async (t) => {
  const store = await storeBench(t, moto);
  const value = 'hunter2 é';
  const twice = [
    ['not shown', `${value}\r`],
    ['again', `${value}\r`],
  ] as const;
  const put = await atTerminal(store, twice, 'put', 'db/password');
  assert.equal(put.code, 0, put.shown);
  assert.match(
    put.shown,
    /value of "db\/password" \(not shown\): \r\nthe same again: \r\n.*stored "db\/password", 10 B/s,
  );
  assert.ok(!put.shown.includes('hunter2'), put.shown);
  assert.equal(
    Buffer.from((await type(store, 'secretsfs get db/password')).stdout, 'latin1').toString(),
    value,
  );
  assert.deepEqual(await atTerminal(store, [], 'get', 'db/password'), { code: 0, shown: `${value}\r\n` });

  const differ = await atTerminal(store, [twice[0], ['again', 'other\r']], 'put', 'db/password');
  assert.equal(differ.code, 2);
  assert.match(differ.shown, /differ/);
  const ended = await atTerminal(store, [['not shown', 'half\x03']], 'put', 'db/password');
  assert.equal(ended.code, 10);
  assert.match(ended.shown, /interrupted.*nothing was written/s);
  assert.equal(
    Buffer.from((await type(store, 'secretsfs get db/password')).stdout, 'latin1').toString(),
    value,
  );

  await typed(store, "printf 'a\\033]0;title\\007' | secretsfs put evil");
  const evil = await atTerminal(store, [], 'get', 'evil');
  assert.equal(evil.code, 2);
  assert.match(evil.shown, /not plain text.*redirect/s);
});

test('a signal of the terminal reaches the program once, from the terminal', async (t) => {
  const store = await storeBench(t, moto);
  await typed(store, 'echo x | secretsfs put a');
  const script = "n=0; trap 'n=$((n+1))' INT; echo ready; sleep 1; sleep 1; sleep 1; echo $n > times";
  const { code } = await atTerminal(store, [['ready', '\x03']], 'exec', 'a', '--', 'bash', '-c', script);
  assert.equal(code, 0);
  assert.equal(await readFile(store.bench.path('times'), 'latin1'), '1\n');
});
