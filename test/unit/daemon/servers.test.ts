import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Servers } from '../../../src/daemon/servers.ts';
import { FakeChild } from '../../support/fake-child.ts';
import { FakeLog } from '../../support/fake-log.ts';

test('a stop ends the server of an upgrade that is not ready yet, and the upgrade', async () => {
  const children: FakeChild[] = [];
  const servers = new Servers({
    spawn() {
      const child = new FakeChild();
      children.push(child);
      return child;
    },
    recordedRequest: () => '',
    beforeGo: () => undefined,
    onDeath: () => assert.fail('nobody died'),
    log: new FakeLog(),
  });
  const going = servers.go();
  children[0]?.say({ ready: true });
  await going;
  const upgrade = servers.upgrade(async () => assert.fail('nothing is handed over'));
  upgrade.catch(() => undefined);
  await servers.stop();
  assert.deepEqual(
    children.map(({ signals }) => signals),
    [['SIGKILL'], ['SIGKILL']],
  );
  await assert.rejects(upgrade, { code: 'upgrade-refused', message: /is stopping/ });
});

test('a server that is ready as the stop comes takes no place any more', async () => {
  const children: FakeChild[] = [];
  const servers = new Servers({
    spawn() {
      const child = new FakeChild();
      children.push(child);
      return child;
    },
    recordedRequest: () => '',
    beforeGo: () => undefined,
    onDeath: () => assert.fail('nobody died'),
    log: new FakeLog(),
  });
  const going = servers.go();
  children[0]?.say({ ready: true });
  await going;
  const upgrade = servers.upgrade(async () => assert.fail('nothing is handed over'));
  upgrade.catch(() => undefined);
  const fresh = children[1] as FakeChild;
  fresh.mortal = false;
  fresh.say({ ready: true });
  const stopped = servers.stop();
  await assert.rejects(upgrade, { code: 'upgrade-refused', message: /is stopping/ });
  assert.deepEqual(
    servers.states().map(({ role }) => role),
    [],
  );
  fresh.end();
  await stopped;
});
