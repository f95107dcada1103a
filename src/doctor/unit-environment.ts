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
  /^AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|CREDENTIAL_EXPIRATION|(DEFAULT_)?PROFILE|ROLE_ARN|WEB_IDENTITY_TOKEN_FILE|CONTAINER_[A-Z_]+|SHARED_CREDENTIALS_FILE|CONFIG_FILE)$/;
/** Words as systemd.syntax(7) quotes them. */
const WORDS = /(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s"'\\]|\\.)+/gs;
const QUOTED = /"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|\\(.)/gs;

export interface UnitEnvironment {
  /** Name → value. */
  readonly found: ReadonlyMap<string, string>;
  /** What can't be told, without values: a file that may not be read, and what has a specifier other than %i and %%. */
  readonly leftOut: readonly string[];
}

export async function environmentOf(
  unit: Unit,
  instance: string,
  machine: Pick<Machine, 'read' | 'list'>,
): Promise<UnitEnvironment> {
  const found = new Map<string, string>();
  const leftOut: string[] = [];
  for (const value of valuesOf(unit, 'Environment')) {
    for (const word of value.match(WORDS) ?? []) {
      const text = unquoted(word);
      const whole = withSpecifiers(text, instance);
      if (whole !== undefined) take(found, whole);
      else if (ABOUT_AWS.test(nameOf(text))) {
        found.delete(nameOf(text));
        leftOut.push(nameOf(text));
      }
    }
  }
  for (const value of valuesOf(unit, 'EnvironmentFile')) {
    try {
      const pattern = withSpecifiers(value.replace(/^-/, ''), instance);
      if (pattern === undefined) throw new Error('a specifier');
      for (const file of await expand(pattern, machine))
        for (const line of linesOf((await machine.read(file)) ?? '')) take(found, line);
    } catch {
      leftOut.push(`EnvironmentFile=${value}`);
    }
  }
  return { found, leftOut: leftOut.filter((each) => !found.has(each)) };
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

const nameOf = (assignment: string) => assignment.slice(0, Math.max(0, assignment.indexOf('=')));

function take(found: Map<string, string>, assignment: string): void {
  const name = nameOf(assignment);
  if (ABOUT_AWS.test(name)) found.set(name, assignment.slice(name.length + 1));
}
