import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { unitOf } from '../../../src/opens/unit.ts';

for (const [cgroup, unit] of [
  ['0::/system.slice/nginx.service\n', 'nginx.service'],
  ['0::/system.slice/system-getty.slice/getty@tty1.service\n', 'getty@tty1.service'],
  // Below its unit, a process can be wherever its owner calls it something.
  ['0::/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service\n', 'user@1000.service'],
  ['0::/system.slice/web.service/nginx.service\n', 'web.service'],
  ['0::/machine.slice/machine-box.scope/payload/system.slice/nginx.service\n', 'machine-box.scope'],
  ['0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-ab.scope\n', 'cri-containerd-ab.scope'],
  // Version 1, and both.
  ['3:cpu:/x.service\n1:name=systemd:/system.slice/nginx.service\n0::/\n', 'nginx.service'],
  ['1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n', 'b.service'],
  // No unit.
  ['0::/\n', undefined],
  ['0::/docker/0123abcd\n', undefined],
  ['0::/system.slice\n', undefined],
  ['0::/../../nginx.service\n', undefined],
  ['0::/evil/system.slice/nginx.service\n', undefined],
  ['4:memory:/system.slice/nginx.service\n', undefined],
  ['11:name=systemd-not:/nginx.service\n', undefined],
  [`0::/system.slice/${'x'.repeat(300)}.service\n`, undefined],
  ['', undefined],
] as const) {
  test(`of ${JSON.stringify(cgroup.slice(0, 80))} the unit is ${unit}`, () => {
    assert.equal(unitOf(cgroup), unit);
  });
}

test('whatever the group is called, what is below a name that is no slice is not the unit', () => {
  const name = fc.string({ minLength: 1 }).filter((text) => !/[/\n]/.test(text) && !text.endsWith('.slice'));
  fc.assert(
    fc.property(name, (first) => {
      const unit = unitOf(`0::/system.slice/${first}/nginx.service\n`);
      assert.ok(unit === undefined || unit === first);
    }),
  );
});

test('any bytes are a unit or none', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const unit = unitOf(text);
      assert.ok(unit === undefined || text.includes(unit));
    }),
  );
});
