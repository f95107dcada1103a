import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HooksTold, resume } from '../../../src/daemon/resuming.ts';
import { FakeLog } from '../../support/fake-log.ts';

/** A store whose notes are a map. */
function notesOf(entries: [string, string][] = []) {
  const notes = new Map(entries);
  return {
    notes,
    store: {
      notes: {
        write: (name: string, text: string) => void notes.set(name, text),
        read: (name: string) => notes.get(name),
      },
    },
  };
}

async function resumed(told: [string, string][], files: { path: string; change: 'changed' }[]) {
  const calls: unknown[][] = [];
  const { store } = notesOf(told);
  const latest = files.length === 0 ? undefined : { files };
  await resume(
    { resume: async () => void calls.push(['engine']) },
    { restored: { live: 4, latest, store }, facts: {} } as never,
    {
      parts: {
        resume: async (_: unknown, live: number) => void calls.push(['parts', live]),
        latest: { state: { live: { serial: 9 } } },
        certificates: [],
      } as never,
      hooks: { resumed: (change, isTold) => void calls.push(['hooks', change, isTold]) },
      log: new FakeLog(),
    },
  );
  return calls;
}

test('first the mount answers, then the rest; hooks are told what changed, unless they were', async () => {
  const files = [{ path: 'a', change: 'changed' as const }];
  const change = { generation: 4, serial: 9, certificates: [], uploaded: null };
  assert.deepEqual(await resumed([], files), [
    ['engine'],
    ['parts', 4],
    ['hooks', { ...change, first: false, changed: files }, false],
  ]);
  const [, , hooks] = await resumed([['hooks-told', '4']], files);
  assert.equal(hooks?.[2], true);
  const [, , before] = await resumed([['hooks-told', '3']], []);
  assert.deepEqual(before, ['hooks', { ...change, first: true, changed: [] }, false]);
});

test('what hooks were told is noted once, and not before they were', () => {
  const { notes, store } = notesOf();
  const ground = { store } as never;
  const told = new HooksTold();
  told.look({ ground }, { told: undefined });
  told.look({ ground: undefined }, { told: 4 });
  assert.equal(notes.size, 0);
  told.look({ ground }, { told: 4 });
  assert.equal(notes.get('hooks-told'), '4');
  notes.clear();
  told.look({ ground }, { told: 4 });
  assert.equal(notes.size, 0);
  told.look({ ground }, { told: 5 });
  assert.equal(notes.get('hooks-told'), '5');
});
