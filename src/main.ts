import { runCli } from './cli/cli.ts';
import { describeBug, EXIT_CODES } from './errors.ts';

// Node opens its debugger on this signal, to every local user, unless somebody listens for it.
process.on('SIGUSR1', () => undefined);
// Node would print the error with its message, which may hold what was being worked on.
process.on('uncaughtException', (error) => {
  process.stderr.write(`secretsfs: internal error: ${describeBug(error)}\n`);
  process.exit(EXIT_CODES.bug);
});
// Not by itself: libfuse, or a connection kept alive, may hold the event loop. What was printed is out.
process.exit(await runCli(process.argv.slice(2), process));
