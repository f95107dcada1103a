/**
 * Secrets as variables of an environment: which name each gets. PURE. A name that was made from a path is the word of whoever
 * may write to the store; so it neither replaces a variable nor is one that tells a program what to load.
 */
import { quote, shellQuote, UsageError } from '../errors.ts';
import { fixedPart } from './patterns.ts';

export interface Wanted {
  /** As selectObjects() takes it. */
  readonly pattern: string;
  /** The variable's name, where a person gave it: then the pattern is one path. */
  readonly name: string | undefined;
}

const NAMED = /^([A-Za-z_][A-Za-z0-9_]*)=(.+)$/s;

/** `NAME=PATH`, or a pattern. Throws UsageError for a name with a wildcard. */
export function parseWanted(text: string): Wanted {
  const [, name, pattern] = NAMED.exec(text) ?? [];
  if (name === undefined || pattern === undefined) return { pattern: text, name: undefined };
  if (!/[*?{,]|\/$/.test(pattern)) return { pattern, name };
  throw new UsageError(`cannot use ${quote(text)}: a name is for one secret, not for a pattern`, {
    hint: 'NAME=PATH, or a pattern alone: the names are made from the paths',
  });
}

/** What a variable is called for the secret at `path` that `pattern` matched: what is below the pattern's own directory. */
export function variableName(path: string, pattern: string): string {
  const below = path.slice(fixedPart(pattern).length);
  const name = below.toUpperCase().replace(/[^A-Z0-9_]/g, '_');
  return /^[0-9]/.test(name) ? `_${name}` : name;
}

/**
 * Those by which a loader, an interpreter, a shell, a tool or an HTTP client is told what to run, what to load, or whom to
 * trust: as many as are known, and by their endings many that are not. No boundary: names that a person gives are one.
 */
const STEERING = new RegExp(
  `^(?:${[
    '.*_(?:PAGER|RSH|EDITOR|OPTS|OPTIONS|COMMAND|CONF)|.*FLAGS|.*_PROXY',
    'PATH|IFS|ENV|SHELLOPTS|BASHOPTS|PS4|BASH_ENV|BASH_FUNC_.*|ZDOTDIR',
    'LD_.*|DYLD_.*|GLIBC_TUNABLES|GCONV_PATH|LOCPATH',
    'NODE_PATH|NODE_EXTRA_CA_CERTS|NODE_TLS_REJECT_UNAUTHORIZED|NPM_CONFIG_.*|DOTNET_STARTUP_HOOKS',
    'PYTHON(?:HOME|PATH|STARTUP|INSPECT|USERBASE|BREAKPOINT|WARNINGS)',
    'PERL5(?:OPT|LIB|DB)|PERLLIB|RUBY(?:OPT|LIB)|CLASSPATH|LUA_.*',
    'GIT_(?:DIR|SSH|ASKPASS|EXEC_PATH|EXTERNAL_DIFF|CONFIG.*)',
    'EDITOR|VISUAL|PAGER|MANPAGER|LESSOPEN|LESSCLOSE|BROWSER|SSH_ASKPASS',
    'SSL_CERT_(?:FILE|DIR)|CURL_CA_BUNDLE|REQUESTS_CA_BUNDLE',
    'AWS_(?:ENDPOINT_URL.*|CONFIG_FILE|SHARED_CREDENTIALS_FILE|CA_BUNDLE|EC2_METADATA_.*|CONTAINER_CREDENTIALS_FULL_URI)',
    'SECRETSFS_.*',
  ].join('|')})$`,
);

export interface Variable {
  readonly name: string;
  readonly path: string;
}

/**
 * Checks names together. `isNamed`: a person gave it. Throws UsageError for one that two secrets have, one that `env` has
 * already, unless `overwrite`, and one that steers programs; the latter two only where the name was made from a path.
 */
export function checkVariables(
  variables: readonly (Variable & { readonly isNamed: boolean })[],
  env: NodeJS.ProcessEnv,
  { overwrite }: { readonly overwrite: boolean },
): void {
  const taken = new Map<string, string>();
  for (const { name, path, isNamed } of variables) {
    const other = taken.get(name);
    const refuse = (why: string, hint: string): never => {
      throw new UsageError(`cannot use ${quote(path)} as the variable ${name}: ${why}`, { hint });
    };
    if (other !== undefined)
      refuse(`${quote(other)} has that name too`, `name one of them: OTHER=${shellQuote(path)}`);
    taken.set(name, path);
    if (isNamed) continue;
    if (STEERING.test(name)) {
      refuse('it would tell programs what to do', `if it is meant, name it: ${name}=${shellQuote(path)}`);
    }
    if (env[name] !== undefined && !overwrite) {
      refuse('it is set already', `--overwrite replaces it; or name it: ${name}=${shellQuote(path)}`);
    }
  }
}
