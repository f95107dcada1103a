import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { UsageError } from '../../../src/errors.ts';
import { compilePatterns } from '../../../src/secrets/patterns.ts';

const matching = (pattern: string, paths: readonly string[]) => {
  const set = compilePatterns([pattern]);
  return paths.filter((path) => set.matches(path));
};
const PATHS = ['a', 'app', 'app/a', 'app/a.txt', 'app/b/c', 'app/b/c/d.txt', 'app2/a', '.hidden', 'app/a,b'];

for (const [pattern, wanted] of [
  ['*', ['a', 'app', '.hidden']],
  ['/*', ['a', 'app', '.hidden']],
  ['**', PATHS],
  ['app/*', ['app/a', 'app/a.txt', 'app/a,b']],
  ['app/', ['app', 'app/a', 'app/a.txt', 'app/b/c', 'app/b/c/d.txt', 'app/a,b']],
  ['app/**', ['app', 'app/a', 'app/a.txt', 'app/b/c', 'app/b/c/d.txt', 'app/a,b']],
  ['app/**/*.txt', ['app/a.txt', 'app/b/c/d.txt']],
  ['app?/a', ['app2/a']],
  ['app/a', ['app/a']],
  ['app/{a,b/c}', ['app/a', 'app/b/c']],
  ['a,app/a', ['a', 'app/a']],
  ['{a,app/{', undefined],
] as const) {
  test(`the pattern ${pattern} ${wanted === undefined ? 'is refused' : `matches ${wanted.join(' ')}`}`, () => {
    if (wanted === undefined) assert.throws(() => compilePatterns([pattern]), UsageError);
    else assert.deepEqual(matching(pattern, PATHS), wanted);
  });
}

test('a pattern that could leave the store, or is none, is refused with a hint', () => {
  for (const pattern of [
    '',
    '../*',
    'a/../b',
    'a//b',
    'a/./*',
    'a\nb',
    'x**',
    'a,,b',
    '.secretsfs/*'.replace('*', 'lock'),
  ]) {
    assert.throws(
      () => compilePatterns([pattern]),
      (e: unknown) => e instanceof UsageError && e.hint !== undefined,
      pattern,
    );
  }
});

test('of no patterns everything matches and nothing is missing', () => {
  const set = compilePatterns([]);
  assert.equal(set.prefix, '');
  assert.ok(set.matches('any/thing'));
  assert.deepEqual(set.unmatched(), []);
});

test('patterns that matched nothing are named as they were written', () => {
  const set = compilePatterns(['/app/*,b*', 'c']);
  assert.ok(set.matches('app/x'));
  assert.ok(!set.matches('d'));
  assert.deepEqual(set.unmatched(), ['b*', 'c']);
});

const name = fc.stringMatching(/^[ab]{1,3}$/);
const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join('/'));
const segment = fc.oneof(
  fc.constant('**'),
  fc.stringMatching(/^[ab*?]{1,3}$/).filter((s) => !s.includes('**')),
);
const pattern = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join('/'));

/** Slow and obvious: by what each part may stand for. */
function naive(parts: readonly string[], names: readonly string[]): boolean {
  const [part, ...rest] = parts;
  if (part === undefined) return names.length === 0;
  if (part === '**') return names.some((_, i) => naive(rest, names.slice(i))) || naive(rest, []);
  const [first, ...others] = names;
  const source = part.replaceAll('*', '.*').replaceAll('?', '.');
  return first !== undefined && new RegExp(`^${source}$`).test(first) && naive(rest, others);
}

test('matching agrees with a naive model, and every match begins with the prefix that is listed', () => {
  fc.assert(
    fc.property(fc.array(pattern, { minLength: 1, maxLength: 3 }), path, (patterns, candidate) => {
      const set = compilePatterns([patterns.join(',')]);
      const wanted = patterns.some((each) => naive(each.split('/'), candidate.split('/')));
      assert.equal(set.matches(candidate), wanted);
      if (wanted)
        assert.ok(candidate.startsWith(set.prefix), `${candidate} does not begin with ${set.prefix}`);
    }),
    { numRuns: 2000 },
  );
});

test('any text is a pattern or a UsageError, and a prefix is text that has UTF-8', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary', maxLength: 12 }), { maxLength: 3 }), (texts) => {
      try {
        const { prefix } = compilePatterns(texts);
        assert.equal(Buffer.from(prefix).toString(), prefix);
      } catch (error) {
        assert.ok(error instanceof UsageError);
      }
    }),
    { numRuns: 3000 },
  );
});
