import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compileGlob, substitute, whyNotGlob, wildcardsOf } from '../../../src/checks/glob.ts';

test('stars stay within a name, ** goes over any number of segments, braces are either', () => {
  const matches: [string, string[], string[]][] = [
    [
      'tls/*.crt',
      ['tls/a.crt', 'tls/.crt', 'tls/.hidden.crt'],
      ['a.crt', 'tls/x/a.crt', 'tls/a.crt.old', 'tls'],
    ],
    ['*', ['a', '.env'], ['a/b', '']],
    ['**', ['', 'a', 'a/b/c', '.ssh/key'], []],
    ['**/*.pem', ['a.pem', 'x/y/a.pem'], ['a.pem/b', 'pem']],
    ['tls/**', ['tls', 'tls/a', 'tls/a/b'], ['tlsx', 'x/tls/a']],
    ['a/**/z', ['a/z', 'a/b/z', 'a/z/z', 'a/b/c/z'], ['a', 'z', 'a/z/b']],
    ['a?c', ['abc', 'a.c'], ['ac', 'abbc', 'a/c']],
    ['{a,b/c}.{crt,key}', ['a.crt', 'b/c.key'], ['a.pem', 'c.key', '{a']],
    ['*a*b*', ['ab', 'xaxbx', 'aab'], ['ba', 'a/b']],
    ['a.b', ['a.b'], ['axb']],
  ];
  for (const [pattern, yes, no] of matches) {
    const glob = compileGlob(pattern);
    for (const path of yes) assert.ok(glob.match(path) !== undefined, `${pattern} should match "${path}"`);
    for (const path of no) assert.equal(glob.match(path), undefined, `${pattern} should not match "${path}"`);
  }
});

test('what is no glob is refused with a reason', () => {
  const wrong: [string, RegExp][] = [
    ['', /empty/],
    ['/etc/x', /below the mountpoint/],
    ['a//b', /empty segment/],
    ['../a', /no \.\./],
    ['a/./b', /no \./],
    ['[ab]', /none of/],
    ['a\\*', /none of/],
    ['@(a|b)', /none of/],
    ['a**', /whole segment/],
    ['{a,{b,c}}', /not nested/],
    ['{a', /braces/],
    ['a}', /braces/],
    ['{a,b}'.repeat(7), /64 alternatives/],
    ['x'.repeat(513), /512 characters/],
    ['a/'.repeat(64).concat('a'), /64 levels/],
  ];
  for (const [pattern, why] of wrong) {
    assert.match(whyNotGlob(pattern) ?? 'accepted', why, pattern);
    assert.throws(() => compileGlob(pattern), RangeError);
  }
});

test('the key of a certificate is found by what the wildcards stand for', () => {
  const keys: [string, string, string, string][] = [
    ['tls/*.crt', 'tls/*.key', 'tls/web.crt', 'tls/web.key'],
    ['**/*.crt', '**/*.key', 'a/b/web.crt', 'a/b/web.key'],
    ['**/*.crt', 'keys/**/*.key', 'web.crt', 'keys/web.key'],
    ['live/*/fullchain.pem', 'live/*/privkey.pem', 'live/a.test/fullchain.pem', 'live/a.test/privkey.pem'],
    ['v?/*', 'k?/*', 'v1/x', 'k1/x'],
    ['c/**', 'k/**', 'c/x/y', 'k/x/y'],
    ['*.crt', 'one.key', 'web.crt', 'one.key'],
  ];
  for (const [certificate, key, path, wanted] of keys) {
    assert.equal(substitute(key, compileGlob(certificate).match(path) ?? []), wanted, certificate);
  }
});

/** As simply as can be said, and in exponential time. */
function naively(pattern: readonly string[], path: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return path.length === 0;
  if (first === '**') return naively(rest, path) || (path.length > 0 && naively(pattern, path.slice(1)));
  const name = path[0];
  return name !== undefined && naivelyNamed(first, name) && naively(rest, path.slice(1));
}

function naivelyNamed(pattern: string, name: string): boolean {
  if (pattern === '') return name === '';
  if (pattern[0] === '*')
    return naivelyNamed(pattern.slice(1), name) || (name !== '' && naivelyNamed(pattern, name.slice(1)));
  return (
    name !== '' &&
    (pattern[0] === '?' || pattern[0] === name[0]) &&
    naivelyNamed(pattern.slice(1), name.slice(1))
  );
}

const segment = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?', '.'), minLength: 1, maxLength: 5 });
const name = fc.string({ unit: fc.constantFrom('a', 'b', '.'), minLength: 1, maxLength: 6 });

test('it matches what a naive matcher matches, and its captures make the path again', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(segment, fc.constant('**')), { minLength: 1, maxLength: 5 }),
      fc.array(name, { minLength: 1, maxLength: 5 }),
      (pattern, path) => {
        const text = pattern.join('/');
        fc.pre(whyNotGlob(text) === undefined);
        const found = compileGlob(text).match(path.join('/'));
        assert.equal(found !== undefined, naively(pattern, path));
        if (found === undefined) return;
        assert.equal(found.length, wildcardsOf(text).length);
        assert.equal(substitute(text, found), path.join('/'));
      },
    ),
    { numRuns: 2000 },
  );
});

test('a pattern that a regular expression would take for ever over is done at once', () => {
  const glob = compileGlob(`${'**/*a*a*a*a*a*a/'.repeat(8)}b`);
  assert.equal(glob.match(`${'a'.repeat(60)}/`.repeat(62).concat('c')), undefined);
  assert.equal(compileGlob('*a'.repeat(200)).match('a'.repeat(199)), undefined);
  assert.equal(compileGlob('**').match('a/'.repeat(3000)), undefined);
});

test('any text is a glob or is refused, and matching never throws', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'ab*?/{},.!') }), fc.string(), (pattern, path) => {
      if (whyNotGlob(pattern) === undefined) compileGlob(pattern).match(path);
      else assert.throws(() => compileGlob(pattern), RangeError);
    }),
  );
});
