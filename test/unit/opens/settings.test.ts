import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolveAccess } from '../../../src/cli/file-rules.ts';
import { accessSchema } from '../../../src/opens/settings.ts';

test('users and groups are looked up, and what an entry leaves out it does not ask for', async () => {
  const access = accessSchema.parse([
    { match: 'tls/**', allow: [{ unit: 'nginx@*.service', user: 'root' }, { group: 33 }] },
  ]);
  assert.deepEqual(await resolveAccess(access), [
    { match: 'tls/**', allow: [{ uid: 0, unit: 'nginx@*.service' }, { gid: 33 }] },
  ]);
  await assert.rejects(resolveAccess([{ match: 'a', allow: [{ user: 'no-such-user' }] }]), /no-such-user/);
});

for (const [what, value, problem] of [
  ['nobody', [{ match: 'a', allow: [] }], /must name somebody/],
  ['an entry that names nothing', [{ match: 'a', allow: [{}] }], /must name a user, a group or a unit/],
  ['a unit without its kind', [{ match: 'a', allow: [{ unit: 'nginx' }] }], /must be a unit such as/],
  ['a slice', [{ match: 'a', allow: [{ unit: 'system.slice' }] }], /must be a unit such as/],
  ['a path', [{ match: '/a', allow: [{ user: 0 }] }], /below the mountpoint/],
  ['a slip', [{ match: 'a', allow: [{ users: 0 }] }], /users/],
] as const) {
  test(`${what} is refused`, () => {
    const result = accessSchema.safeParse(value);
    assert.equal(result.success, false);
    assert.match(JSON.stringify(result.error?.issues), problem);
  });
}
