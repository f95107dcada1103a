import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { COMMANDS } from '../../../src/cli/commands.ts';
import { type FstabMount, parseFstabMount, splitOptions } from '../../../src/cli/fstab.ts';
import { mount } from '../../../src/cli/mount.ts';
import { signatureOf } from '../../../src/cli/signature.ts';
import { refusal } from '../../support/bundles.ts';

const parse = (...argv: string[]): FstabMount => parseFstabMount(argv, mount.settings);
const flagsOf = (options: string) => parse('web', '/m', '-o', options).flags;

test('a name is an instance with a config of its name, what has a slash is a bundle', () => {
  const { instance, config, bundle, mountpoint } = parse('web', '/srv/web/', '-o', 'rw');
  assert.deepEqual(
    { instance, config, bundle, mountpoint },
    { instance: 'web', config: '/etc/secretsfs/web.yaml', bundle: undefined, mountpoint: '/srv/web' },
  );
  const old = parse('secretsfs#web', '/m');
  assert.deepEqual(
    [old.source, old.instance, old.config],
    ['secretsfs#web', 'web', '/etc/secretsfs/web.yaml'],
  );
  for (const place of ['s3://bucket/web.enc', '/etc/web.enc']) {
    const found = parse(place, '/m');
    assert.deepEqual([found.instance, found.config, found.bundle], [undefined, undefined, place]);
  }
  for (const place of ['none', 'secretsfs']) {
    const found = parse(place, '/m', '-o', 'config=/etc/a.yaml');
    assert.deepEqual([found.instance, found.config, found.bundle], [undefined, '/etc/a.yaml', undefined]);
  }
});

test('what every fstab has means nothing', () => {
  const common =
    'defaults,ro,rw,noauto,nofail,_netdev,x-systemd.automount,X-mount.mkdir,noexec,nosuid,relatime';
  assert.deepEqual(flagsOf(common), []);
});

test('options are the flags of mount, and three of its own', () => {
  assert.deepEqual(flagsOf('accept-key=local:/k,fast-open,preserve=false,encryption-context=a=b'), [
    '--accept-key=local:/k',
    '--fast-open',
    '--preserve=false',
    '--context=a=b',
  ]);
  const { config, log, selinuxContext, flags } = parse(
    'web',
    '/m',
    ...['-o', 'config=/c,log=/l,context="u:r:t:s0:c1,c2",poll=5s', '-o', 'cache=none'],
  );
  assert.deepEqual([config, log, selinuxContext], ['/c', '/l', 'u:r:t:s0:c1,c2']);
  assert.deepEqual(flags, ['--poll=5s', '--cache=none']);
});

test('letters are taken as mount(8) gives them', () => {
  const { isFake, isVerbose } = parse('web', '/m', '-fnv', '-t', 'fuse.secretsfs', '-orw');
  assert.deepEqual([isFake, isVerbose], [true, true]);
  assert.deepEqual(parse('web', '/m', '-s', '-o', 'nonsense').flags, []);
});

test('what it does not know is refused with a hint', () => {
  const refused = (pattern: RegExp, ...argv: string[]) =>
    assert.throws(() => parse(...argv), refusal('usage', pattern));
  refused(/unknown mount option "fast-opne"/, 'web', '/m', '-o', 'fast-opne');
  // They are the source and the directory.
  refused(/unknown mount option "bundle"/, 'web', '/m', '-o', 'bundle=/b');
  refused(/unknown mount option "mountpoint"/, 'web', '/m', '-o', 'mountpoint=/b');
  refused(/while it is mounted/, 'web', '/m', '-o', 'remount,ro');
  refused(/1 argument given/, 'web');
  refused(/3 arguments/, 'web', '/m', '/n');
  refused(/config needs a value/, 'web', '/m', '-o', 'config');
  refused(/poll needs a value/, 'web', '/m', '-o', 'poll=');
  refused(/namespace/, 'web', '/m', '-N', '1');
  refused(/-o needs a value/, 'web', '/m', '-o');
  refused(/unknown option "--help"/, 'web', '/m', '--help');
});

test('whatever is in an option, it is one flag with a name of ours, or refused', () => {
  const names = new Set(mount.settings.map((each) => each.replace(/[A-Z]/g, (a) => `-${a.toLowerCase()}`)));
  const option = fc.tuple(
    fc.constantFrom('name', 'poll', 'accept-key', 'x-y', 'ro', '--name', ''),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(option), (options) => {
      const text = options.map(([name, value]) => `${name}=${value}`).join(',');
      let flags: readonly string[];
      try {
        ({ flags } = parse('web', '/m', '-o', text));
      } catch (error) {
        return refusal('usage')(error);
      }
      return flags.every((flag) => names.has(/^--([a-z-]+)=./s.exec(flag)?.[1] ?? ''));
    }),
  );
});

test('what the helper tells the mount is no option for people', async () => {
  const known = COMMANDS.find(({ name }) => name === 'mount');
  assert.ok(known !== undefined);
  const names = signatureOf(known, mount).flags.map(({ name }) => name);
  assert.ok(names.includes('fsname') && !names.includes('log-fd'), names.join());
});

test('options are split at commas outside of quotes, and nothing of them is lost', () => {
  const part = fc.oneof(fc.stringMatching(/^[a-z=:]{1,8}$/), fc.stringMatching(/^[a-z]="[a-z,]{0,8}"$/));
  fc.assert(
    fc.property(fc.array(part), (parts) => {
      assert.deepEqual(splitOptions(parts.join(',')), parts);
    }),
  );
});
