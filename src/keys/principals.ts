/**
 * Who is named in a policy: a role, a user or a whole account, by its ARN. What KMS would refuse, or would take and mean
 * something else by, is refused here, with what was probably meant.
 */
import { isName } from '../bundle/name.ts';
import { quote, UsageError } from '../errors.ts';

export interface Principal {
  readonly arn: string;
  readonly partition: string;
  /** Twelve digits. */
  readonly account: string;
  readonly kind: 'account' | 'role' | 'user';
}

/** One who may do something with the bundles of one name. */
export interface NamedPrincipal {
  readonly name: string;
  readonly principal: Principal;
}

const ARN = /^arn:(aws(?:-[a-z]{1,12}){0,3}):(iam|sts)::(\d{12}):(.+)$/;
/** A path and a name, in the characters that IAM allows. */
const RESOURCE = /^(role|user)\/(?:[\x21-\x7e]{1,510}\/)?[\w+=,.@-]{1,64}$/;
const FORMS = 'such an ARN is arn:aws:iam::ACCOUNT:role/NAME, …:user/NAME, or …:root for a whole account';

/** Throws UsageError. `option` is for messages: "--admin". */
export function parsePrincipal(text: string, option: string): Principal {
  const refuse = (why: string, hint = FORMS): UsageError =>
    new UsageError(`cannot use ${option} ${quote(text)}: ${why}`, { hint });
  if (/^\d{12}$/.test(text)) {
    throw refuse('it is an account, not an ARN', `for all of the account: arn:aws:iam::${text}:root`);
  }
  const [, partition = '', service = '', account = '', resource = ''] = ARN.exec(text) ?? [];
  if (partition === '') throw refuse('it is not the ARN of a role, a user or an account');
  if (service === 'sts') {
    const role = /^assumed-role\/([\w+=,.@-]+)\//.exec(resource)?.[1];
    throw refuse(
      'it is one session, not what it is a session of',
      role === undefined
        ? FORMS
        : `the role is arn:${partition}:iam::${account}:role/${role}, with its path where it has one (aws iam get-role --role-name ${role})`,
    );
  }
  if (resource === 'root') return { arn: text, partition, account, kind: 'account' };
  if (resource.startsWith('group/')) {
    throw refuse('a group can not be named in a policy', 'name its users, or a role that they may assume');
  }
  // A wildcard is none here: KMS would take it for a name that nobody has.
  const kind = RESOURCE.exec(resource)?.[1];
  if (kind === undefined || /[*?]/.test(resource)) throw refuse('it names no role and no user');
  return { arn: text, partition, account, kind: kind as 'role' | 'user' };
}

/** `web=arn:aws:iam::…:role/web`. Throws UsageError. */
export function parseNamedPrincipal(text: string, option: string): NamedPrincipal {
  const at = text.indexOf('=');
  const name = text.slice(0, Math.max(at, 0));
  if (!isName(name) || text.startsWith('arn:')) {
    throw new UsageError(`cannot use ${option} ${quote(text)}: it names no bundle`, {
      hint: `write it as NAME=ARN, NAME being the bundle's: ${option} web=arn:aws:iam::ACCOUNT:role/web`,
    });
  }
  return { name, principal: parsePrincipal(text.slice(at + 1), option) };
}
