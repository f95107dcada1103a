/** Who we are to AWS, until when, in which region, and who else on this machine can be the same. */
import type { AwsSettings } from '../daemon/agent-channel.ts';
import { isS3Url } from '../daemon/location.ts';
import { SecretsfsError } from '../errors.ts';
import { parseKeyArn } from '../keyring/spec.ts';
import { type Check, ok, problem, unknown, type Verdict, warning } from './finding.ts';
import { type Subject, unitName } from './subject.ts';
import { formatSpan } from './words.ts';

/** A session that ends sooner is no use to a mount. */
const SESSION_MS_MIN = 24 * 3_600_000;
/** The AWS settings that this mount uses, each once. */
export function settingsOf({ plan }: Subject): AwsSettings[] {
  const all = (plan?.parts ?? []).flatMap((part) => [
    ...part.sources.filter(({ bundle }) => isS3Url(bundle)).map(({ aws }) => aws),
    ...(part.acceptedKeys.some((key) => parseKeyArn(key) !== undefined) ? [part.aws] : []),
  ]);
  return [...new Map(all.map((each) => [JSON.stringify(each), each])).values()];
}

export const credentials: Check = {
  id: 'credentials',
  area: 'aws',
  what: 'credentials',
  async run(subject) {
    const all = await Promise.all(settingsOf(subject).map((each) => credentialsOf(subject, each)));
    return all.length === 0 ? all : [...all, ...ofUnit(subject)];
  },
};

/** What was looked with is the unit's only as far as that can be told. */
function ofUnit({ unitSets, unitHides, instance }: Subject): Verdict[] {
  const unit = unitName(instance);
  const found: Verdict[] = [];
  if (unitSets.length > 0) found.push(ok(`looked with ${unitSets.join(', ')} as ${unit} sets them`));
  if (unitHides.length > 0)
    found.push(
      unknown(
        `looked without what ${unit} sets by ${unitHides.join(', ')}`,
        'run it as root; a specifier other than %i and %% is not known here: write out what it stands for',
      ),
    );
  return found;
}

async function credentialsOf(subject: Subject, settings: AwsSettings): Promise<Verdict> {
  const found = await orProblem(() => subject.cloud(settings).credentials());
  if ('state' in found) return found;
  const { source, expiresMs, renewed } = found;
  if (expiresMs === undefined) return ok(`from ${source}`);
  const leftMs = expiresMs - subject.outside.nowMs();
  const until = `until ${new Date(expiresMs).toISOString()}`;
  const fix = 'give the instance a role (aws ec2 associate-iam-instance-profile), or keys that last';
  if (leftMs <= 0)
    return problem(
      `from ${source}, expired ${formatSpan(-leftMs)} ago`,
      renewed ? 'see why they are not renewed: aws sts get-caller-identity' : fix,
    );
  if (!renewed && leftMs < SESSION_MS_MIN)
    return warning(`from ${source}, ${until}: a mount can't renew them`, fix);
  return ok(`from ${source}, ${until}${renewed ? ', renewed by itself' : ''}`);
}

/** What AWS's set-up lacks is what is looked for. */
async function orProblem<T>(ask: () => Promise<T>): Promise<T | Verdict> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof SecretsfsError)) throw error;
    return problem(`${error.message} (${error.code})`, error.hint ?? 'aws sts get-caller-identity');
  }
}

export const credentialsReadable: Check = {
  id: 'credentials-readable',
  area: 'aws',
  what: "who may read AWS's files",
  async run(subject) {
    const { machine, plan } = subject;
    if (machine.uid !== 0 || plan?.driver !== 'kernel') return undefined;
    const facts = await Promise.all(
      settingsOf(subject).map((settings) =>
        subject
          .cloud(settings)
          .credentials()
          .catch(() => undefined),
      ),
    );
    if (!facts.some((each) => /profile|session of a person/.test(each?.source ?? ''))) return undefined;
    const home = machine.env['HOME'] ?? '/root';
    const files = [
      machine.env['AWS_CONFIG_FILE'] ?? `${home}/.aws/config`,
      machine.env['AWS_SHARED_CREDENTIALS_FILE'] ?? `${home}/.aws/credentials`,
    ];
    const verdicts: Verdict[] = [];
    for (const file of files) {
      const closed = await closedAt(subject, file);
      if (closed !== undefined)
        verdicts.push(
          problem(
            `${JSON.stringify(file)} can't be read by the users of agent and unsealer, who ask AWS: ${JSON.stringify(closed)} lets nobody else in`,
            'put it where they may read it, and name it in the unit: Environment=AWS_SHARED_CREDENTIALS_FILE=/etc/secretsfs/aws; or give the instance a role',
          ),
        );
    }
    return verdicts.length > 0 ? verdicts : ok('agent and unsealer may');
  },
};

/** The first on the way to a file that is not open to everybody; undefined: all is, or there is no such file. */
async function closedAt({ machine }: Subject, file: string): Promise<string | undefined> {
  if ((await machine.stat(file)) === undefined) return undefined;
  const names = file.split('/').slice(1);
  for (let depth = 1; depth <= names.length; depth++) {
    const path = `/${names.slice(0, depth).join('/')}`;
    const facts = await machine.stat(path);
    const needed = depth === names.length ? 0o004 : 0o001;
    if (facts !== undefined && (facts.mode & needed) === 0) return path;
  }
  return undefined;
}

export const region: Check = {
  id: 'region',
  area: 'aws',
  what: 'region',
  async run(subject) {
    return Promise.all(
      settingsOf(subject).map(async (settings) => {
        const found = await orProblem(async () => ({ region: await subject.cloud(settings).region() }));
        if ('state' in found) return found;
        if (found.region !== undefined) return ok(found.region);
        if (settings.likelyRegion !== undefined) return ok(`${settings.likelyRegion}, as the key's ARN says`);
        return warning(
          'nothing says it: S3 is asked in us-east-1 first',
          'region: eu-west-1 in the config, or AWS_REGION in the unit',
        );
      }),
    );
  },
};
