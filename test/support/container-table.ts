/** docs/containers.md, "Bind the directory above, as a slave" and "A single file": each row of them, for any engine. */
import assert from 'node:assert/strict';
import type { ContainerHost } from './container-host.ts';
import type { Bind } from './containers.ts';
import { file } from './entries.ts';
import type { Shell } from './shell.ts';

export interface Engine {
  /** A container with these binds. */
  start(binds: readonly Bind[]): Promise<Shell>;
  /** What a mount that is bound itself still has of its flags; mounts below what is bound have all of them. */
  readonly flagsOfBound: readonly string[];
}

/** Of a mount, as secretsfs makes it. */
export const FLAGS = ['ro', 'nosuid', 'nodev', 'noexec'] as const;

const entries = (text: string, more: readonly string[] = []) => [
  file('tls/key', `key ${text}`),
  ...more.map((name) => file(name, `${name} ${text}`)),
];

export async function showTheTable(host: ContainerHost, engine: Engine): Promise<void> {
  const daemon = await host.mount('web', entries('one', ['single']));
  const web = host.mountpoint('web');
  const box = await engine.start([
    { source: host.above, target: '/secrets', propagation: 'rslave' },
    { source: host.above, target: '/private', propagation: 'rprivate' },
    { source: web, target: '/web', propagation: 'rslave' },
    { source: `${web}/tls`, target: '/tls', propagation: 'rslave' },
    { source: `${web}/single`, target: '/run/single', propagation: 'rslave' },
  ]);
  const all = ['/secrets/web/tls/key', '/private/web/tls/key', '/web/tls/key', '/tls/key'];
  const [slave = '', ...others] = all;
  const readsAs = async (text: string, names: readonly string[]) => {
    for (const name of names) assert.equal(await box.must(`cat ${name}`), text, name);
  };
  await readsAs('key one', all);
  await box.must('exec 3</run/single');

  await host.rotate('web', daemon, entries('the second', ['single']));
  await readsAs('key the second', all);
  await readsAs('single the second', ['/run/single']);
  assert.equal(await box.must('cat <&3; exec 3<&-'), 'single one');
  const size = await box.must('stat -c %s /run/single /secrets/web/single');
  assert.equal(size, `${'single one'.length}\n${'single the second'.length}`);
  await host.rotate('web', daemon, entries('three'));
  await readsAs('key three', all);
  assert.match((await box.run('cat /run/single')).text, /Stale file handle/);
  await rootCanNotWrite(box);
  const flags = [await flagsOf(box, '/secrets/web'), await flagsOf(box, '/private/web')];
  assert.deepEqual([...flags, await flagsOf(box, '/web')], [FLAGS, FLAGS, engine.flagsOfBound]);

  // Unmounted, and mounted anew.
  await daemon.stop();
  assert.equal(await box.must('ls /secrets/web'), '');
  await nothingIsRead(box, [...others, '/run/single']);
  await host.mount('web', entries('four', ['single']));
  await readsAs('key four', [slave]);
  await nothingIsRead(box, [...others, '/run/single']);
  await host.mount('app', entries('one'));
  await readsAs('key one', ['/secrets/app/tls/key']);
  assert.equal(await box.must('ls /private/app'), '');
}

async function rootCanNotWrite(box: Shell): Promise<void> {
  for (const at of ['/secrets/web', '/private/web', '/web']) {
    for (const command of ['touch new', 'rm tls/key', 'mv tls/key other', 'chmod 644 tls/key']) {
      const { code, text } = await box.run(`cd ${at} && ${command}`);
      assert.notEqual(code, 0);
      assert.match(text, /Read-only file system/, `${command} in ${at}`);
    }
  }
}

/** Of FLAGS. */
async function flagsOf(box: Shell, at: string): Promise<string[]> {
  const [line = ''] = (await box.must(`grep ' ${at} ' /proc/self/mountinfo`)).split('\n');
  const options = (line.split(' ')[5] ?? '').split(',');
  return FLAGS.filter((flag) => options.includes(flag));
}

async function nothingIsRead(box: Shell, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const { code, text } = await box.run(`cat ${name}`);
    assert.notEqual(code, 0, `${name}: ${text}`);
  }
}
