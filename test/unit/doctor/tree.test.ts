import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Served } from '../../../src/doctor/opened.ts';
import { insideOf } from '../../../src/doctor/server-configs.ts';
import { ServedTree } from '../../../src/doctor/tree.ts';

const node = (path: string, kind: Served['kind'], mode: number, more: Partial<Served> = {}): Served => {
  return { path, kind, mode, uid: 0, gid: 0, target: undefined, ...more };
};

function tree(directory?: string): ServedTree {
  const made = new ServedTree();
  made.add(directory, [
    node('', 'directory', 0o755),
    node('tls', 'directory', 0o710, { gid: 33 }),
    node('tls/a.crt', 'file', 0o640, { gid: 33 }),
    node('tls/b.crt', 'file', 0o600),
    node('tls/live', 'symlink', 0o777, { target: '../tls/./a.crt' }),
    node('loop', 'symlink', 0o777, { target: 'loop' }),
    node('out', 'symlink', 0o777, { target: '../etc/passwd' }),
    node('abs', 'symlink', 0o777, { target: '/tls/a.crt' }),
  ]);
  return made;
}

test('find() follows symlinks inside of the tree, and none out of it', () => {
  assert.equal(tree().find('tls/live')?.path, 'tls/a.crt');
  assert.equal(tree().find('./tls//a.crt')?.path, 'tls/a.crt');
  assert.equal(tree('x').find('x/tls/live')?.path, 'x/tls/a.crt');
  for (const path of ['loop', 'out', 'abs', 'tls/none', 'tls/a.crt/b', '../tls/a.crt']) {
    assert.equal(tree().find(path), undefined, path);
  }
});

test('closedAt() names what keeps a reader out, as the kernel would', () => {
  const web = { name: 'www-data', uid: 33, gids: [33] };
  const closed = (path: string, reader: Parameters<ServedTree['closedAt']>[1]) =>
    tree().closedAt(tree().find(path) as Served, reader)?.path;
  assert.equal(closed('tls/a.crt', web), undefined);
  assert.equal(closed('tls/b.crt', web), 'tls/b.crt');
  assert.equal(closed('tls/b.crt', { name: 'root', uid: 0, gids: [0] }), undefined);
  assert.equal(closed('tls/a.crt', { name: 'x', uid: 5, gids: [5] }), 'tls');
  assert.equal(closed('tls', web), 'tls');
});

test('filesIn() has what is right below a directory', () => {
  assert.deepEqual(
    tree()
      .filesIn('tls')
      .map(({ path }) => path),
    ['tls/a.crt', 'tls/b.crt', 'tls/live'],
  );
  assert.deepEqual(
    tree()
      .filesIn('')
      .map(({ path }) => path),
    ['loop', 'out', 'abs'],
  );
});

test('insideOf() knows what is in the mount by its path', () => {
  assert.equal(insideOf('/srv/m', '/srv/m/a//b/'), 'a/b');
  assert.equal(insideOf('/srv/m', '/srv/m'), '');
  assert.equal(insideOf('/srv/m', '/srv/mm/a'), undefined);
  assert.equal(insideOf('/run/m', '/var/run/m/a'), 'a');
});
