/**
 * What a unit puts into the environment of a mount that is about AWS: Environment= and the files of EnvironmentFile=, which
 * systemd.exec(5) says to go before. Credentials may be among it, so values go into an environment and nowhere else.
 */
import { expand } from './expand.ts';
import type { Machine } from './machine.ts';
import type { Assignment, Unit } from './units.ts';

/** The aws command's, and its proxies. */
const ABOUT_AWS = /^(AWS_[A-Z0-9_]+|(https?|all|no)_proxy|(HTTPS?|ALL|NO)_PROXY)$/;
/** Who one is: of a half from here and a half from there nobody. */
const IDENTITY =
  /^AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|CREDENTIAL_EXPIRATION|(DEFAULT_)?PROFILE|ROLE_ARN|WEB_IDENTITY_TOKEN_FILE|CONTAINER_[A-Z_]+)$/;
/** Words as systemd.syntax(7) quotes them. */
const WORDS = /(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s"'\\]|\\.)+/gs;
const QUOTED = /"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|\\(.)/gs;

/** Name → value. A file that may not be read, and what has a specifier other than %i and %%, is left out. */
export async function environmentOf(
  unit: Unit,
  instance: string,
  machine: Pick<Machine, 'read' | 'list'>,
): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const value of valuesOf(unit, 'Environment')) {
    const text = withSpecifiers(value, instance);
    for (const word of text?.match(WORDS) ?? []) take(found, unquoted(word));
  }
  for (const value of valuesOf(unit, 'EnvironmentFile')) {
    const pattern = withSpecifiers(value.replace(/^-/, ''), instance);
    if (pattern === undefined) continue;
    for (const file of await expand(pattern, machine)) {
      const text = await machine.read(file).catch(() => undefined);
      for (const line of linesOf(text ?? '')) take(found, line);
    }
  }
  return found;
}

/** Puts it into `env`. Where it says who one is, what said so before is taken out. */
export function applyTo(env: NodeJS.ProcessEnv, found: ReadonlyMap<string, string>): void {
  const isIdentity = (name: string) => IDENTITY.test(name);
  if ([...found.keys()].some(isIdentity))
    for (const name of Object.keys(env).filter(isIdentity)) delete env[name];
  for (const [name, value] of found) env[name] = value;
}

/** An empty one takes back those before. */
function valuesOf({ assignments }: Unit, key: string): string[] {
  const isIt = (each: Assignment) => each.key === key && each.section === 'Service';
  const values = assignments.filter(isIt).map(({ value }) => value);
  return values.slice(values.lastIndexOf('') + 1);
}

function withSpecifiers(text: string, instance: string): string | undefined {
  const known: Readonly<Record<string, string>> = { '%i': instance, '%%': '%' };
  const specifiers = text.match(/%./gs) ?? [];
  if (specifiers.some((each) => !Object.hasOwn(known, each))) return undefined;
  return text.replace(/%./gs, (each) => known[each] ?? each);
}

/** NAME=value of a file of EnvironmentFile=, unquoted. */
function linesOf(text: string): string[] {
  return text
    .replace(/\\\n/g, '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => !/^[#;]/.test(line))
    .map((line) => unquoted(line.replace(/\s*=\s*/, '=')));
}

const unquoted = (text: string) =>
  text.replace(QUOTED, (_all, weak?: string, strong?: string, escaped?: string) =>
    (weak ?? strong ?? escaped ?? '').replace(/\\(["'\\])/g, '$1'),
  );

function take(found: Map<string, string>, assignment: string): void {
  const at = assignment.indexOf('=');
  const name = assignment.slice(0, Math.max(0, at));
  if (ABOUT_AWS.test(name)) found.set(name, assignment.slice(at + 1));
}
