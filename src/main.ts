import path from 'node:path';
import { runCli } from './cli/cli.ts';
import { describeBug, EXIT_CODES } from './errors.ts';

// Node opens its debugger on this signal, to every local user, unless somebody listens for it.
process.on('SIGUSR1', () => undefined);
// Node would print the error with its message, which may hold what was being worked on.
process.on('uncaughtException', (error) => {
  process.stderr.write(`secretsfs: internal error: ${describeBug(error)}\n`);
  process.exit(EXIT_CODES.bug);
});
const given = process.argv.slice(2);
// mount(8) calls it by another name.
const isHelper = /^mount\.(fuse\.)?secretsfs$/.test(path.basename(process.argv[1] ?? ''));
const exitCode = isHelper
  ? await (await import('./cli/mount-helper.ts')).runMountHelper(given, process)
  : await runCli(given, process);
// Not by itself: libfuse, or a connection kept alive, may hold the event loop. What was printed is out.
process.exit(exitCode);
