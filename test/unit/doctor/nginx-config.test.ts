import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expand } from '../../../src/doctor/expand.ts';
import { parseNginx, readNginxConfig } from '../../../src/doctor/nginx-config.ts';
import { fakeMachine } from '../../support/fake-machine.ts';

const short = (text: string) =>
  parseNginx(text, '/n').directives.map(({ name, args, blocks, line }) => [
    line,
    [...blocks, name].join('/'),
    ...args,
  ]);

test('parseNginx() has each directive with its arguments, its blocks and its line', () => {
  const text = `user www-data; # http {
http {
  server { listen 443 ssl;
    ssl_certificate /m/a.crt;
  }
}`;
  assert.deepEqual(short(text), [
    [1, 'user', 'www-data'],
    [2, 'http'],
    [3, 'http/server'],
    [3, 'http/server/listen', '443', 'ssl'],
    [4, 'http/server/ssl_certificate', '/m/a.crt'],
  ]);
});

test('parseNginx() takes quotes, escapes and variables as nginx does', () => {
  assert.deepEqual(short(`a "b;{}#c" 'd e' f\\ g \${h}{`), [[1, 'a', 'b;{}#c', 'd e', 'f\\ g', `\${h}`]]);
  assert.deepEqual(short(`ssl_certificate /m/\${ssl_server_name}.crt;\nx "a\nb" ;y z;`), [
    [1, 'ssl_certificate', `/m/\${ssl_server_name}.crt`],
    [2, 'x', 'a\nb'],
    [3, 'y', 'z'],
  ]);
});

test('parseNginx() passes over a block of Lua, whose braces alone count', () => {
  assert.deepEqual(short('content_by_lua_block { if x then t = {1; 2} end }\nafter it;'), [
    [1, 'content_by_lua_block'],
    [2, 'after', 'it'],
  ]);
});

test('parseNginx() says what ends too soon, and where', () => {
  const problemsOf = (text: string) => parseNginx(text, '/n').problems;
  assert.deepEqual(problemsOf('http {'), ['"/n" ends within a block']);
  assert.deepEqual(problemsOf('a;\n}'), ['"/n" has a } too many in line 2']);
  assert.deepEqual(problemsOf('a;\nb c'), ['"/n" ends within a directive that begins in line 2']);
  assert.deepEqual(problemsOf('a;\nb "c;'), ['"/n" ends within a quote that begins in line 2']);
  assert.deepEqual(problemsOf('a;'), []);
});

test('readNginxConfig() follows includes, by wildcard and relative to the main file', async () => {
  const machine = fakeMachine({
    files: {
      '/etc/nginx/nginx.conf':
        'http { include conf.d/*.conf; include /etc/nginx/sites-enabled/*; include none/*; include gone; }',
      '/etc/nginx/conf.d/b.conf': 'b;',
      '/etc/nginx/conf.d/a.conf': 'a;',
      '/etc/nginx/conf.d/.hidden.conf': 'hidden;',
      '/etc/nginx/conf.d/a.conf~': 'old;',
      '/etc/nginx/sites-enabled/web': 'server { c d; }',
    },
  });
  const { directives, problems } = await readNginxConfig('/etc/nginx/nginx.conf', machine);
  assert.deepEqual(
    directives.map(({ name, file, blocks }) => [file, [...blocks, name].join('/')]),
    [
      ['/etc/nginx/nginx.conf', 'http'],
      ['/etc/nginx/conf.d/a.conf', 'http/a'],
      ['/etc/nginx/conf.d/b.conf', 'http/b'],
      ['/etc/nginx/sites-enabled/web', 'http/server'],
      ['/etc/nginx/sites-enabled/web', 'http/server/c'],
    ],
  );
  assert.deepEqual(problems, ['there is no "/etc/nginx/gone"']);
});

test('readNginxConfig() ends where files include themselves, and says so once', async () => {
  const machine = fakeMachine({ files: { '/n/nginx.conf': 'include nginx.conf; include nginx.conf;' } });
  const { problems } = await readNginxConfig('/n/nginx.conf', machine);
  assert.equal(problems.length, 1);
  assert.match(problems[0] ?? '', /more than 1000 files, 16 deep/);
});

test('expand() knows *, ?, classes and what is no class', async () => {
  const files = Object.fromEntries(['/a/x1/f', '/a/x2/f', '/a/y1/f', '/a/[x/f'].map((file) => [file, '']));
  const machine = fakeMachine({ files });
  assert.deepEqual(await expand('/a/x?/f', machine), ['/a/x1/f', '/a/x2/f']);
  assert.deepEqual(await expand('/a/[!x]1/f', machine), ['/a/y1/f']);
  assert.deepEqual(await expand('/a/[x*', machine), ['/a/[x']);
  assert.deepEqual(await expand('/a/[2-1]*', machine), []);
  assert.deepEqual(await expand('/a/none', machine), ['/a/none']);
});
