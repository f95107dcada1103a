/**
 * Decides as AWS does what policies allow, so far as the policies of this project go: Allow and no Deny, exact principals
 * and accounts, wildcards, StringEquals and StringLike. What it does not know it throws for. After
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html and
 * https://docs.aws.amazon.com/kms/latest/developerguide/policy-evaluation.html
 */
import type { PolicyDocument, Statement } from '../../src/keys/policy-document.ts';

export interface Request {
  /** Of a role, a user or an account's root user. */
  readonly principal: string;
  readonly action: string;
  readonly resource: string;
  /** Condition keys as the service sets them. */
  readonly context?: Readonly<Record<string, string>>;
}

export interface Policies {
  /** Of the principal itself. */
  readonly identity?: PolicyDocument;
  /** Of the key or the bucket. */
  readonly resource?: PolicyDocument;
  /** Whose key or bucket it is. */
  readonly owner: string;
}

const list = (value: string | readonly string[]): readonly string[] =>
  typeof value === 'string' ? [value] : value;

/** `*` and `?` match, `${*}` and the like are themselves. */
function matches(pattern: string, text: string): boolean {
  const regex = pattern.replace(/\$\{[*?$]\}|[.*+?^${}()|[\]\\]/g, (part) => {
    if (part.startsWith('${')) return `\\${part[2]}`;
    return part === '*' ? '.*' : part === '?' ? '.' : `\\${part}`;
  });
  return new RegExp(`^${regex}$`, 's').test(text);
}

function holds(statement: Statement, request: Request): boolean {
  const context: Readonly<Record<string, string>> = {
    'aws:PrincipalType': request.principal.endsWith(':root') ? 'Account' : 'AssumedRole',
    ...request.context,
  };
  return Object.entries(statement.Condition ?? {}).every(([operator, tests]) => {
    if (operator !== 'StringEquals' && operator !== 'StringLike')
      throw new Error(`unknown operator ${operator}`);
    return Object.entries(tests).every(([key, values]) => {
      const found = context[key];
      if (found === undefined) return false;
      return list(values).some((value) =>
        operator === 'StringLike' ? matches(value, found) : value === found,
      );
    });
  });
}

function applies(statement: Statement, request: Request): boolean {
  return (
    list(statement.Action).some((each) => matches(each, request.action)) &&
    list(statement.Resource).some((each) => matches(each, request.resource)) &&
    holds(statement, request)
  );
}

const accountOf = (arn: string) => arn.split(':')[4] ?? '';

export function isAllowed(request: Request, { identity, resource, owner }: Policies): boolean {
  const account = accountOf(request.principal);
  const root = new RegExp(`^arn:[a-z-]+:iam::${account}:root$`);
  const own = identity?.Statement.some((statement) => applies(statement, request)) ?? false;
  const named = (resource?.Statement ?? [])
    .filter((statement) => applies(statement, request))
    .flatMap(({ Principal }) => list(Principal?.AWS ?? []));
  const direct = named.includes(request.principal);
  const delegated = named.some((arn) => root.test(arn));
  if (account !== owner) return own && (direct || delegated);
  if (request.action.startsWith('kms:')) return direct || (delegated && own);
  return direct || own;
}

/** What is wrong with a document, before anybody asks what it means. */
export function problemsOf(document: PolicyDocument, kind: 'identity' | 'resource'): string[] {
  const problems: string[] = [];
  const known = ['Sid', 'Effect', 'Principal', 'Action', 'Resource', 'Condition'];
  if (document.Version !== '2012-10-17') problems.push(`version ${document.Version}`);
  if (document.Statement.length === 0) problems.push('no statement');
  const sids = document.Statement.map(({ Sid }) => Sid);
  if (new Set(sids).size !== sids.length) problems.push(`the same Sid twice: ${sids}`);
  for (const statement of document.Statement) {
    const { Sid, Effect, Principal, Action, Resource } = statement;
    const say = (what: string) => problems.push(`${Sid}: ${what}`);
    if (!/^[A-Za-z0-9]+$/.test(Sid)) say('its Sid is not letters and digits');
    if (Effect !== 'Allow') say(`effect ${Effect}`);
    if ((Principal === undefined) !== (kind === 'identity')) say('principal');
    for (const key of Object.keys(statement)) if (!known.includes(key)) say(`unknown ${key}`);
    for (const values of [list(Action), list(Resource), list(Principal?.AWS ?? ['x'])]) {
      if (values.length === 0 || new Set(values).size !== values.length) say(`a list of ${values}`);
    }
    for (const action of list(Action))
      if (!/^(kms|s3|sqs|sns):([A-Za-z]+|\*)$/.test(action)) say(`action ${action}`);
    for (const resource of list(Resource))
      if (resource !== '*' && !/^arn:aws[a-z-]*:(kms|s3|sqs|sns):/.test(resource))
        say(`resource ${resource}`);
  }
  return problems;
}
