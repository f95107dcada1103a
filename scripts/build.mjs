#!/usr/bin/env node
// Bundles src/main.ts and everything it imports into one runnable file, dist/secretsfs.mjs. Only the two
// packages that carry native code stay outside: they are found in node_modules beside it.
//
// The file is read whole by every command, and `secretsfs wait` should not take longer than what it waits for. What is
// done for that here: ES modules of the packages, which can be thinned out; no comments and blanks; and the two plugins.
import { chmod, readFile } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const { version } = JSON.parse(await readFile(`${root}package.json`, 'utf8'));
const outfile = `${root}dist/secretsfs.mjs`;

/** Imports of an ES module run before its first line. So that http and crypto load with what needs them: require. */
const builtinsWhenNeeded = {
  name: 'builtins-when-needed',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^[a-z0-9_:/]+$/ }, ({ path, kind }) => {
      if (kind === 'require-call' || !isBuiltin(path)) return undefined;
      return { path, namespace: 'builtin' };
    });
    onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => {
      return { contents: `module.exports = require(${JSON.stringify(path)});`, loader: 'js' };
    });
  },
};

/** yargs measures its help with it, which is ASCII. Its table of emoji alone takes 25 ms to set up, help or not. */
const widthOfAscii = {
  name: 'width-of-ascii',
  setup({ onLoad }) {
    onLoad({ filter: /\/node_modules\/string-width\/index\.js$/ }, () => {
      return { contents: 'export default (text) => text.length;', loader: 'js' };
    });
  },
};

await build({
  absWorkingDir: root,
  entryPoints: ['src/main.ts'],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20.19',
  mainFields: ['module', 'main'],
  external: ['fuse-native', 'koffi'],
  plugins: [builtinsWhenNeeded, widthOfAscii],
  minifyWhitespace: true,
  // A place in a stack trace should say more than "line 1".
  lineLimit: 160,
  define: { SECRETSFS_VERSION: JSON.stringify(version) },
  banner: {
    js: [
      '#!/usr/bin/env node',
      "import { createRequire as __createRequire } from 'node:module';",
      "import { fileURLToPath as __fileURLToPath } from 'node:url';",
      "import { dirname as __pathDirname } from 'node:path';",
      'const require = __createRequire(import.meta.url);',
      'const __filename = __fileURLToPath(import.meta.url);',
      'const __dirname = __pathDirname(__filename);',
    ].join('\n'),
  },
  legalComments: 'none',
  logLevel: 'warning',
});
await chmod(outfile, 0o755);
