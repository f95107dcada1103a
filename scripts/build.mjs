#!/usr/bin/env node
// Bundles src/main.ts and everything it imports into one runnable file, dist/secretsfs.mjs, and each of src/processes/
// into one of its own, dist/NAME.mjs: a process loads nothing that another one needs. Only the two packages that carry
// native code stay outside: they are found in node_modules beside them. dist/licenses.txt has what each package asks to be
// passed on.
//
// SECRETSFS_DIST is where to, instead of dist/; SECRETSFS_VERSION the version, instead of package.json's.
//
// The command line, the agent and the unsealer come in parts, so that what is not used (the AWS SDK, for a local bundle) is
// not even parsed: it saves a third of an unsealer's time and a quarter of a supervisor's memory. The server and those who
// help it are one file each: they live on when dist/ is replaced, and would look for parts that are gone. An agent that
// does is started again.
//
// What a command loads should not make `secretsfs wait` take longer than what it waits for. What is done for that here: ES modules of the packages, which can be thinned out; no comments and blanks; and the two plugins.
import { execFileSync } from 'node:child_process';
import { chmod, copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { licensesOf } from './licenses.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const version =
  process.env.SECRETSFS_VERSION ?? JSON.parse(await readFile(`${root}package.json`, 'utf8')).version;
const dist = path.resolve(process.env.SECRETSFS_DIST ?? `${root}dist`);
const processFiles = await readdir(`${root}src/processes`);
const processes = processFiles
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.replace(/\.ts$/, ''));

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

const common = {
  absWorkingDir: root,
  outdir: dist,
  metafile: true,
  outExtension: { '.js': '.mjs' },
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
  define: {
    SECRETSFS_VERSION: JSON.stringify(version),
    SECRETSFS_UNIT: JSON.stringify(await readFile(`${root}systemd/secretsfs@.service`, 'utf8')),
  },
  banner: {
    js: [
      '#!/usr/bin/env node',
      "import { createRequire as __createRequire } from 'node:module';",
      "import { fileURLToPath as __fileURLToPath } from 'node:url';",
      "import { dirname as __pathDirname } from 'node:path';",
      'var require = __createRequire(import.meta.url);',
      'var __filename = __fileURLToPath(import.meta.url);',
      'var __dirname = __pathDirname(__filename);',
    ].join('\n'),
  },
  legalComments: 'none',
  logLevel: 'warning',
};
const entryPoint = (name) => ({ in: `src/processes/${name}.ts`, out: name });

const inParts = ['secretsfs', 'agent', 'unsealer'];
// Their names change with their contents.
for (const name of inParts) await rm(`${dist}/${name}-parts`, { recursive: true, force: true });
/**
 * The supervisor stays, so its young generation keeps V8's first size, 1 MiB a half: else loading what it is made of lets it
 * grow to 4, which it never gives back. Children have a flag for that (daemon/children.ts); a program that is started by name
 * has none, and by the time of its own first line, all that it imports is loaded.
 */
const smallYoungGeneration = [
  "import { setFlagsFromString as __setV8Flags } from 'node:v8';",
  "if (process.argv[2] === 'mount') __setV8Flags('--semi-space-growth-factor=1');",
].join('\n');

const { metafile } = await build({
  ...common,
  entryPoints: processes.filter((name) => !inParts.includes(name)).map(entryPoint),
});
const inputs = Object.keys(metafile.inputs);
for (const name of inParts) {
  const { metafile } = await build({
    ...common,
    entryPoints: [name === 'secretsfs' ? { in: 'src/main.ts', out: name } : entryPoint(name)],
    ...(name === 'secretsfs' ? { banner: { js: `${common.banner.js}\n${smallYoungGeneration}` } } : {}),
    splitting: true,
    chunkNames: `${name}-parts/[hash]`,
  });
  inputs.push(...Object.keys(metafile.inputs));
}
await writeFile(`${dist}/licenses.txt`, await licensesOf(root, inputs));
await chmod(`${dist}/secretsfs.mjs`, 0o755);
for (const file of processFiles) {
  if (file.endsWith('.sh')) await copyFile(`${root}src/processes/${file}`, `${dist}/${file}`);
}
// The manual pages: dist/man. What shells load to complete commands: dist/completions.
await import('./man.mjs');
await mkdir(`${dist}/completions`, { recursive: true });
for (const shell of ['bash', 'zsh', 'fish']) {
  const script = execFileSync(process.execPath, [`${dist}/secretsfs.mjs`, 'completion', shell]);
  await writeFile(`${dist}/completions/${shell}`, script);
}
