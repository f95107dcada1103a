/** What is said to haproxy's runtime API, and what becomes of its answers. The real haproxy is in test/e2e/hooks.test.ts. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { updateCertificates } from '../../src/daemon/haproxy-updater.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const PEM = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';

/** Answers as haproxy does, but where a test says otherwise. */
async function haproxy(t: TestContext, otherwise: Readonly<Record<string, string>> = {}) {
  const directory = await temporaryDirectory(t);
  const socket = path.join(directory, 'admin.sock');
  const heard: string[] = [];
  const server = createServer((connection) => {
    let text = '';
    connection.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      const whole = text.includes('<<') ? text.includes('\n\n') : text.includes('\n');
      if (!whole) return;
      heard.push(text);
      const [verb = ''] = text.split(' ');
      const answers: Record<string, string> = {
        show: '# filename\n/m/a.pem\n/m/b.pem\n\n',
        set: 'Transaction created for certificate x!\n\n',
        commit: 'Committing x.\nSuccess!\n\n',
        abort: 'Transaction aborted for certificate x!\n\n',
        ...otherwise,
      };
      connection.end(answers[verb] ?? '');
    });
    connection.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  t.after(() => server.close());
  const files = [];
  for (const name of ['a.pem', 'b.pem']) {
    await writeFile(path.join(directory, name), PEM);
    files.push({ path: path.join(directory, name), name: `/m/${name}` });
  }
  return { directory, heard, task: { socket, timeoutMs: 10_000, files } };
}

test('each file is set and committed, one after the other', async (t) => {
  const { heard, task } = await haproxy(t);
  assert.deepEqual(await updateCertificates(task), { updated: 2, failed: null });
  assert.deepEqual(heard, [
    'show ssl cert\n',
    `set ssl cert /m/a.pem <<\n${PEM}\n`,
    'commit ssl cert /m/a.pem\n',
    `set ssl cert /m/b.pem <<\n${PEM}\n`,
    'commit ssl cert /m/b.pem\n',
  ]);
});

test('a file that tries to be a command is a payload all the same', async (t) => {
  const { heard, task } = await haproxy(t);
  await writeFile(task.files[0]?.path ?? '', `${PEM}\n\nshutdown frontend web\n\n${PEM}`);
  await updateCertificates(task);
  assert.equal(heard[1], `set ssl cert /m/a.pem <<\n${PEM}${PEM}\n`);
});

test('what can not be committed is aborted; whatever fails, nothing more is said', async (t) => {
  const refused = await haproxy(t, { set: "Can't load the payload\n" });
  assert.deepEqual(await updateCertificates(refused.task), { updated: 0, failed: 'refused' });
  assert.equal(refused.heard.length, 2);
  const failing = await haproxy(t, { commit: 'Committing x.\nFailed!\n' });
  assert.deepEqual(await updateCertificates(failing.task), { updated: 0, failed: 'not-committed' });
  assert.equal(failing.heard.at(-1), 'abort ssl cert /m/a.pem\n');
});

test('a name that haproxy does not know, or that is no word; a file that is no PEM, or is not there; nobody at the socket', async (t) => {
  const { directory, heard, task } = await haproxy(t);
  const [file] = task.files;
  assert.ok(file !== undefined);
  const outcome = async (change: object, socket = task.socket) =>
    (await updateCertificates({ ...task, socket, files: [{ ...file, ...change }] })).failed;
  assert.equal(await outcome({ name: '/m/c.pem' }), 'unknown-file');
  assert.equal(await outcome({ name: '/m/a.pem;show' }), 'unknown-file');
  await writeFile(path.join(directory, 'text'), 'no pem\n');
  assert.equal(await outcome({ path: path.join(directory, 'text') }), 'not-pem');
  assert.equal(await outcome({ path: path.join(directory, 'none') }), 'unreadable');
  assert.ok(heard.every((line) => line === 'show ssl cert\n'));
  assert.equal(await outcome({}, path.join(directory, 'nobody')), 'socket');
  const hung = createServer(() => undefined);
  const silent = path.join(directory, 'silent');
  await new Promise<void>((resolve) => hung.listen(silent, resolve));
  t.after(() => hung.close());
  assert.deepEqual(await updateCertificates({ ...task, socket: silent, timeoutMs: 200 }), {
    updated: 0,
    failed: 'timeout',
  });
});
