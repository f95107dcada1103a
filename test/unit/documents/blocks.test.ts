/** Every command and every config in README.md and docs/ is executed by a test, or says why not. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { type Block, blocks } from '../../support/documents.ts';
import { REPOSITORY } from '../../support/paths.ts';

/** What is made to be executed, by whatever; a language that is not here has to be put here, or below. */
const EXECUTED = ['sh', 'console', 'yaml', 'nginx', 'haproxy', 'fstab', 'ini', 'js'];
/** What may be the output of a program. */
const TEXT = ['', 'json'];
/** Of those that no test runs. */
const NOT_RUN_MAX = 0;
const COMMAND = /^(?!.*─)(sudo )?(secretsfs|aws|systemctl|docker|curl) [a-z-]/m;

const all = blocks();
const isNotRun = ({ mark }: Block) => /^not run: .{20}/.test(mark);
const isText = ({ mark }: Block) => mark === 'output' || mark === 'layout';
const places = (found: readonly Block[]) => found.map(({ place, language, mark }) => [place, language, mark]);

test('each fenced block says which tests execute it, or why none does', () => {
  assert.ok(all.length > 70, `${all.length} blocks were found`);
  assert.deepEqual(
    places(all.filter((block) => block.groups.length === 0 && !isNotRun(block) && !isText(block))),
    [],
  );
});

test('what is a command or a config is not passed off as output', () => {
  const unknown = all.filter(({ language }) => ![...EXECUTED, ...TEXT].includes(language));
  assert.deepEqual(places(unknown), []);
  const hidden = all.filter(
    (block) => isText(block) && (EXECUTED.includes(block.language) || COMMAND.test(block.body)),
  );
  assert.deepEqual(places(hidden), []);
});

test('few are not run', () => {
  const found = all.filter(isNotRun);
  assert.ok(found.length <= NOT_RUN_MAX, JSON.stringify(places(found)));
});

test('each group that a block names is read by a test', () => {
  const directory = path.join(REPOSITORY, 'test');
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' });
  const text = files
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => readFileSync(path.join(directory, name), 'utf8'))
    .join('\n');
  const read = new Set(
    [...text.matchAll(/\b(?:steps|blocks|block)Of\('([\w-]+)'\)/g)].map(([, group]) => group),
  );
  const unread = all.filter(({ groups }) => groups.some((group) => !read.has(group)));
  assert.deepEqual(places(unread), []);
});
