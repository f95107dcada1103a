/** The instance's metadata service, from which everybody who reaches it gets the role's credentials. Only statuses are looked at. */
import { settingsOf } from './credentials.ts';
import { type Check, ok, problem, unknown, type Verdict, warning } from './finding.ts';
import type { Subject } from './subject.ts';

/** Off EC2 nobody is there; AWS_EC2_METADATA_SERVICE_ENDPOINT names another. */
const ENDPOINTS = ['http://169.254.169.254', 'http://[fd00:ec2::254]'];
const TOKEN = { method: 'PUT', header: 'x-aws-ec2-metadata-token-ttl-seconds=1' } as const;
/** nobody(4), who owns nothing and runs nothing. */
const NOBODY = 65534;
/** Of what such a service answers; anything else is closed, or something else at that address. */
const GIVEN = 200;

function endpointsOf({ machine: { env } }: Subject): readonly string[] {
  const named = env['AWS_EC2_METADATA_SERVICE_ENDPOINT'];
  if (named) return [named];
  return env['AWS_EC2_METADATA_DISABLED']?.toLowerCase() === 'true' ? [] : ENDPOINTS;
}

export const imds: Check = {
  id: 'imds',
  area: 'aws',
  what: "the instance's metadata service",
  async run(subject) {
    const endpoints = endpointsOf(subject);
    const verdicts = (await Promise.all(endpoints.map((endpoint) => look(subject, endpoint)))).flat();
    if (endpoints.length === 0 || verdicts.length > 0) return verdicts;
    return ok('it gives nothing: this is no instance, or it is closed');
  },
};

/** Nothing where nobody is there. */
async function look(subject: Subject, endpoint: string): Promise<Verdict[]> {
  const { machine } = subject;
  const url = new URL('/latest/api/token', endpoint).href;
  const names = new URL('/latest/meta-data/', endpoint).href;
  const [isOpen, isThere] = await Promise.all([
    machine.statusAs(machine.uid, { method: 'GET', url: names }).then((status) => status === GIVEN),
    machine.statusAs(machine.uid, { ...TOKEN, url }).then((status) => status === GIVEN),
  ]);
  if (!isOpen && !isThere) return [];
  const verdicts: Verdict[] = [];
  if (isOpen)
    verdicts.push(
      problem(
        `${endpoint} answers without a token (IMDSv1): whoever can make a program here fetch a URL gets the role's credentials`,
        'aws ec2 modify-instance-metadata-options --instance-id ID --http-tokens required --http-put-response-hop-limit 1',
      ),
    );
  if (machine.uid !== 0)
    return [
      ...verdicts,
      unknown('whether other users reach it is not known', 'run as root: sudo secretsfs doctor'),
    ];
  const others = await machine.statusAs(NOBODY, { ...TOKEN, url });
  verdicts.push(
    others === GIVEN
      ? warning(
          `any user of this machine gets the role's credentials at ${endpoint}, as uid ${NOBODY} did, and with them the bundle`,
          closeToOthers(endpoint),
        )
      : ok(`other users do not reach ${endpoint}`),
    // No `unknown`, which --strict would never let pass on any instance.
    ok(
      "how many hops its answers travel, and so whether containers get them, EC2 alone tells (HttpPutResponseHopLimit 1 keeps them out): aws ec2 describe-instances --instance-ids ID --query 'Reservations[].Instances[].MetadataOptions'",
    ),
  );
  return [...verdicts, ...(await shutOut(subject, endpoint, url))];
}

/** iptables, or ip6tables, and the address. */
function destination(endpoint: string): string {
  const { hostname } = new URL(endpoint);
  const isV6 = hostname.startsWith('[');
  return `${isV6 ? 'ip6tables' : 'iptables'} -I OUTPUT -d ${isV6 ? hostname.slice(1, -1) : hostname}`;
}

function closeToOthers(endpoint: string): string {
  const rule = destination(endpoint);
  return `${rule} -j REJECT; for u in root secretsfs-agent secretsfs-unsealer; do ${rule} -m owner --uid-owner $u -j ACCEPT; done`;
}

/** Who closes it to others must not close it to those who ask for the mount. */
async function shutOut(subject: Subject, endpoint: string, url: string): Promise<Verdict[]> {
  const { machine } = subject;
  const asked = settingsOf(subject).map((settings) => subject.cloud(settings).credentials());
  const facts = await Promise.allSettled(asked);
  if (!facts.some((each) => each.status === 'fulfilled' && each.value.fromInstance)) return [];
  const verdicts: Verdict[] = [];
  for (const name of ['secretsfs-agent', 'secretsfs-unsealer']) {
    const user = await machine.user(name);
    if (user === undefined || (await machine.statusAs(user.uid, { ...TOKEN, url })) === GIVEN) continue;
    const fix = `${destination(endpoint)} -m owner --uid-owner ${name} -j ACCEPT`;
    verdicts.push(problem(`${name} does not reach it, and asks AWS for the mount`, fix));
  }
  return verdicts;
}
