import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { REPOSITORY } from '../support/paths.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const CHECK = path.join(REPOSITORY, 'scripts', 'check-imports.mjs');

/** Runs the check over a tree of these files below src/. */
async function check(t: TestContext, files: Readonly<Record<string, string>>) {
  const root = await temporaryDirectory(t);
  for (const [name, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(root, 'src', name)), { recursive: true });
    await writeFile(path.join(root, 'src', name), text);
  }
  return new Promise<{ code: number; stderr: string }>((resolve) => {
    execFile(process.execPath, [CHECK, root], (error, _stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stderr });
    });
  });
}

test('the import rules pass what is allowed', async (t) => {
  const { code, stderr } = await check(t, {
    'cli/commands.ts': "export const a = () => import('./pack.ts');\n",
    'cli/pack.ts': "export const a = () => import('../system/a.ts');\n",
    'system/a.ts': "import 'koffi';\n",
    'vfs/a.ts': "import { b } from '../generation/b.ts';\nexport const a = b;\n",
    'generation/b.ts': "import { createHash } from 'node:crypto';\nexport const b = createHash('sha256');\n",
  });
  assert.equal(stderr, '');
  assert.equal(code, 0);
});

const FORBIDDEN: readonly (readonly [string, Readonly<Record<string, string>>, RegExp])[] = [
  [
    'an import against the direction',
    { 'vfs/a.ts': "import '../cli/b.ts';\n", 'cli/b.ts': 'export {};\n' },
    /src\/vfs\/a\.ts imports src\/cli\/b\.ts: vfs may not import cli/,
  ],
  ['a builtin in a pure folder', { 'bundle/a.ts': "import 'node:fs';\n" }, /imports node:fs: it is pure/],
  [
    'a lazy import all the same',
    { 'bundle/a.ts': "export const a = () => import('node:fs');\n" },
    /it is pure/,
  ],
  [
    'the clock in a pure folder',
    { 'vfs/a.ts': 'export const a = () => Date.now();\n' },
    /uses Date\.now: it is pure/,
  ],
  ['a package out of its place', { 'cli/a.ts': "import 'fuse-native';\n" }, /only fuse\/native\.ts may/],
  [
    'what only a mount needs, in a command for authors',
    {
      'cli/commands.ts': "export const a = () => import('./pack.ts');\n",
      'cli/pack.ts': "import '../system/a.ts';\n",
      'system/a.ts': "import 'koffi';\n",
    },
    /src\/cli\/pack\.ts must not load koffi, as src\/system\/a\.ts does/,
  ],
  [
    'a command that is loaded before it is called',
    {
      'main.ts': "import './cli/commands.ts';\n",
      'cli/commands.ts': "export const a = () => import('./pack.ts');\nimport './other.ts';\n",
      'cli/other.ts': "import './pack.ts';\n",
      'cli/pack.ts': 'export {};\n',
    },
    /src\/cli\/other\.ts must not load src\/cli\/pack\.ts: a command is loaded when it is called/,
  ],
  ['a folder that has no rule', { 'misc/a.ts': 'export {};\n' }, /misc has no rule/],
];

for (const [what, files, says] of FORBIDDEN) {
  test(`the import rules refuse ${what}`, async (t) => {
    const { code, stderr } = await check(t, files);
    assert.equal(code, 1);
    assert.match(stderr, says);
  });
}
