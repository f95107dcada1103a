/**
 * Teller and notifier, which an activation needs, are there as soon as a generation is being made, so that it does not
 * wait for a start; and not while nothing is made, for the memory.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { kill } from '../support/processes.ts';
import { cleanups, type Server, serve } from '../support/server.ts';
import { SLOWNESS } from '../support/slowness.ts';

const ROLES = ['notifier', 'teller'];

const entriesOf = (version: number) => [{ path: 'd/file', text: `version ${version}` }];

/** Those that are there, by role. */
async function helpers(server: Server): Promise<Record<string, number>> {
  const { processes } = await server.state();
  return Object.fromEntries(
    processes.filter(({ role }) => ROLES.includes(role)).map(({ role, pid }) => [role, pid]),
  );
}

/** When they are what they should be. */
async function helpersOnce(
  server: Server,
  wanted: (found: Record<string, number>) => boolean,
): Promise<Record<string, number>> {
  for (let attempt = 0; ; attempt++) {
    const found = await helpers(server);
    if (wanted(found)) return found;
    assert.ok(attempt < 200 * SLOWNESS, `after 20 s there are ${JSON.stringify(found)}`);
    await sleep(100);
  }
}

async function word(server: Server, send: string, answer: string): Promise<void> {
  server.send(send);
  await server.next(answer);
}

const none = (found: Record<string, number>) => Object.keys(found).length === 0;

test('teller and notifier come with a candidate, stay as long as it is made, and are those that make it live', async (t) => {
  const server = await serve({ entries: entriesOf(1) }, cleanups(t), { driver: 'kernel' });
  assert.deepEqual(await helpers(server), {}, 'nothing is made');
  await word(server, 'begin', 'begun');
  const first = await helpers(server);
  assert.deepEqual(Object.keys(first).sort(), ROLES);
  // Longer than they stay for nothing.
  await sleep(7_000);
  assert.deepEqual(await helpers(server), first);
  await server.activate({ entries: entriesOf(2) });
  assert.deepEqual(await helpers(server), first);
});

test('a candidate that is refused leaves neither behind, and the next one has both again', async (t) => {
  const server = await serve({ entries: entriesOf(1) }, cleanups(t), { driver: 'kernel' });
  await word(server, 'begin', 'begun');
  const first = await helpers(server);
  await word(server, 'refuse', 'refused');
  await helpersOnce(server, none);
  await word(server, 'begin', 'begun');
  const second = await helpers(server);
  assert.deepEqual(Object.keys(second).sort(), ROLES);
  assert.ok(ROLES.every((role) => second[role] !== first[role]));
});

test('a notifier that ends while a generation is made is replaced before it is needed', async (t) => {
  const server = await serve({ entries: entriesOf(1) }, cleanups(t), { driver: 'kernel' });
  await word(server, 'begin', 'begun');
  const first = await helpers(server);
  assert.ok(kill(first['notifier'] ?? 0));
  const second = await helpersOnce(
    server,
    ({ notifier }) => notifier !== undefined && notifier !== first['notifier'],
  );
  await server.activate({ entries: entriesOf(2) });
  assert.deepEqual(await helpers(server), second);
  await word(server, 'refuse', 'refused');
  await helpersOnce(server, none);
});
