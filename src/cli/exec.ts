/** Runs a program with secrets in its environment, and in that of nothing else. */
import { isUtf8 } from 'node:buffer';
import { quote, SourceError, UsageError } from '../errors.ts';
import { bundleBytesMax } from '../limits.ts';
import { mapConcurrently } from '../secrets/concurrent.ts';
import { splitAtCommas } from '../secrets/patterns.ts';
import { selectObjects } from '../secrets/select.ts';
import type { SecretStore } from '../secrets/store.ts';
import { isSyncKey } from '../secrets/sync.ts';
import {
  checkVariables,
  parseWanted,
  type Variable,
  variableName,
  type Wanted,
} from '../secrets/variables.ts';
import { awsAccess } from './bundles.ts';
import { type Command, type Context, listArg } from './command.ts';
import { runProgram } from './run-program.ts';
import { createOpener, SECRET_SETTINGS, type SecretOpener } from './secrets.ts';
import { openStore } from './stores.ts';

/** More would wait for each other at KMS. */
const AT_ONCE = 16;
/** Linux: MAX_ARG_STRLEN, of one NAME=VALUE with its NUL. */
const VARIABLE_BYTES_MAX = 128 * 1024 - 1;
/** What one may be sealed, in base64 too. */
const SEALED_BYTES_MAX = 2 * bundleBytesMax(VARIABLE_BYTES_MAX);

export const exec: Command = {
  usage: 'exec [pattern..]',
  settings: SECRET_SETTINGS,
  runsProgram: true,
  build: (yargs) =>
    yargs
      .positional('pattern', {
        type: 'string',
        describe: 'secrets, as of ls, or NAME=PATH; then -- PROGRAM ARGUMENTS...',
      })
      .option('overwrite', {
        type: 'boolean',
        default: false,
        describe: 'secrets replace variables that are set already',
      }),
  async run(args, context) {
    const program = listArg(args, 'program');
    if (program.length === 0) {
      throw new UsageError('cannot exec: no program given', {
        hint: 'secretsfs exec PATTERN... -- PROGRAM ARGUMENTS...',
      });
    }
    const patterns = listArg(args, 'pattern');
    if (patterns.length === 0) {
      throw new UsageError('cannot exec: no secret given', {
        hint: 'secretsfs exec PATTERN... -- PROGRAM ARGUMENTS...; everything is: exec "**" -- PROGRAM',
      });
    }
    const aws = awsAccess(context);
    const store = openStore(context, aws);
    const opener = await createOpener(context, store, aws);
    const variables = await nameVariables(store, patterns, context, args['overwrite'] === true);
    const values = await context.ui.progress(`reading ${store.location}`, () =>
      mapConcurrently(variables, AT_ONCE, (variable) => readValue(variable, opener)),
    );
    aws.destroy();
    const [command = '', ...rest] = program;
    return runProgram(command, rest, { ...context.env, ...Object.fromEntries(values) });
  },
};

async function nameVariables(
  store: SecretStore,
  patterns: readonly string[],
  { env }: Context,
  overwrite: boolean,
): Promise<Variable[]> {
  const found: (Variable & { readonly isNamed: boolean })[] = [];
  for (const { pattern, name } of patterns.flatMap(wantedOf)) {
    for await (const { path } of selectObjects(store, [pattern])) {
      const isNamed = name !== undefined;
      if (!isNamed && isSyncKey(path)) continue;
      const own = name ?? variableName(path, pattern);
      // The same secret by two patterns is the same variable.
      if (found.some((other) => other.name === own && other.path === path)) continue;
      found.push({ name: own, path, isNamed });
    }
  }
  checkVariables(found, env, { overwrite });
  return found;
}

/** Of a list, each pattern by itself: a name is made from what is below the directory of its own pattern. */
function wantedOf(text: string): Wanted[] {
  const wanted = parseWanted(text);
  if (wanted.name !== undefined) return [wanted];
  const name = /^([^=/*?{,]+)=[^=]/.exec(text)?.[1];
  if (name !== undefined) {
    throw new UsageError(`cannot use ${quote(text)}: ${quote(name)} can't be a variable's name`, {
      hint: 'NAME=PATH, with letters, digits and _, no digit first; also for a path that has a =',
    });
  }
  return splitAtCommas(text).map((pattern) => ({ pattern, name: undefined }));
}

/** As a text, which is what an environment takes; it lives as long as this process, which waits for the program. */
async function readValue({ name, path }: Variable, opener: SecretOpener): Promise<[string, string]> {
  const refuse = (why: string): never => {
    throw new UsageError(`cannot use ${quote(path)} as the variable ${name}: ${why}`, {
      hint: 'let the program read a file: secretsfs download, or mount a bundle',
    });
  };
  const { plaintext } = await opener.open(path, { bytesMax: SEALED_BYTES_MAX }).catch((error: unknown) => {
    if (!(error instanceof SourceError) || error.code !== 'source-too-large') throw error;
    return refuse('it is larger than Linux takes');
  });
  try {
    if (plaintext.includes(0)) refuse('its value has a NUL byte');
    if (!isUtf8(plaintext)) refuse('its value is not text in UTF-8');
    // As $(...) of a shell does, and secretsfs put.
    const end = plaintext.at(-1) === 0x0a ? plaintext.length - 1 : plaintext.length;
    if (name.length + 1 + end > VARIABLE_BYTES_MAX)
      refuse(`its value has ${end} bytes, which Linux does not take`);
    return [name, plaintext.toString('utf8', 0, end)];
  } finally {
    plaintext.fill(0);
  }
}
