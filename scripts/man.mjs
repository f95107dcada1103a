#!/usr/bin/env node
// Writes the manual pages, man1/*.1, man5/*.5 and man8/*.8, below dist/man or the directory that is named (SECRETSFS_DIST and
// SECRETSFS_VERSION as in build.mjs). What they say is what --help
// says, from the same source (src/cli/commands.ts, options.ts, build() of each command), and docs/cli-abi.md. Their date is that
// of SOURCE_DATE_EPOCH, else that of the changelog.
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { manualPages } from './man/pages.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The commands are TypeScript, and load packages from node_modules above them. */
async function commandsOf() {
  const directory = await mkdtemp(path.join(root, 'node_modules', '.secretsfs-man-'));
  try {
    const outfile = path.join(directory, 'commands.mjs');
    const contents = [
      "export { COMMANDS } from './src/cli/commands.ts';",
      "export { LETTERS, OWN_OPTIONS, optionName } from './src/cli/fstab.ts';",
      "export { signatureOf } from './src/cli/signature.ts';",
      "export { flagName, SETTING_NAMES, variableName } from './src/daemon/config.ts';",
    ].join('\n');
    await build({
      absWorkingDir: root,
      stdin: { contents, resolveDir: root, loader: 'ts' },
      ...{ outfile, bundle: true, packages: 'external', platform: 'node', format: 'esm', logLevel: 'error' },
    });
    const { COMMANDS, signatureOf, flagName, SETTING_NAMES, variableName, ...fstab } = await import(
      pathToFileURL(outfile).href
    );
    const signatures = [];
    for (const known of COMMANDS) signatures.push(signatureOf(known, await known.load()));
    const variables = new Map(SETTING_NAMES.map((setting) => [flagName(setting), variableName(setting)]));
    return { signatures, variables, fstab };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function stampOf() {
  const { version: own } = JSON.parse(await readFile(`${root}package.json`, 'utf8'));
  const version = process.env.SECRETSFS_VERSION ?? own;
  const epoch = process.env.SOURCE_DATE_EPOCH;
  const at = epoch ? new Date(Number(epoch) * 1000) : (await stat(`${root}CHANGELOG.md`)).mtime;
  return { version, date: at.toISOString().slice(0, 10) };
}

const target = path.resolve(process.argv[2] ?? `${process.env.SECRETSFS_DIST ?? `${root}dist`}/man`);
const cliAbi = await readFile(`${root}docs/cli-abi.md`, 'utf8');
const pages = manualPages({ ...(await commandsOf()), cliAbi, stamp: await stampOf() });
await rm(target, { recursive: true, force: true });
for (const [name, contents] of pages) {
  await mkdir(path.dirname(path.join(target, name)), { recursive: true });
  await writeFile(path.join(target, name), contents);
}
