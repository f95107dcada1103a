/** What a mount reads from the disk of this machine and believes: config, keys, serials, users; and where it mounts. */
import { readRecord } from '../daemon/floor.ts';
import { errnoWords, quote, SecretsfsError, shellQuote } from '../errors.ts';
import { parseKeySpec } from '../keyring/spec.ts';
import { topMount } from '../system/mountinfo.ts';
import { resolveProcessUsers } from '../system/process-users.ts';
import { type Check, ok, problem, unknown, type Verdict, warning } from './finding.ts';
import { type Subject, unitName } from './subject.ts';

export const config: Check = {
  id: 'config',
  area: 'files',
  what: 'config',
  async run({ machine, configPath, configError, plan }) {
    if (configError?.code === 'config-unreadable' && machine.uid !== 0)
      return unknown(configError.message, 'run as root: sudo secretsfs doctor');
    if (configError !== undefined)
      return problem(`${configError.message} (${configError.code})`, configError.hint ?? 'correct that line');
    if (plan === undefined) return ok('no mount is configured: what follows is about the machine alone');
    return ok(configPath === undefined ? 'by flags and environment' : quote(configPath));
  },
};

export const configTrust: Check = {
  id: 'config-trust',
  area: 'files',
  what: 'who may change the config',
  async run({ machine, configPath, plan }) {
    if (configPath === undefined || machine.uid !== 0) return undefined;
    const untrusted = machine.untrusted(configPath);
    if (untrusted === undefined) return ok('root alone');
    const runs = (plan?.hooks.length ?? 0) > 0 ? ', and it names what runs as root' : '';
    return problem(`${untrusted.problem}${runs}`, untrusted.hint);
  },
};

export const keyFiles: Check = {
  id: 'key-files',
  area: 'files',
  what: 'local key files',
  async run({ machine, plan }) {
    const verdicts: Verdict[] = [];
    const specs = new Set((plan?.parts ?? []).flatMap(({ acceptedKeys }) => acceptedKeys));
    for (const text of specs) {
      const spec = parseKeySpec(text);
      if (spec.kind !== 'local') continue;
      const file = spec.path;
      const facts = await machine.stat(file);
      const shown = shellQuote(file);
      if (facts === undefined)
        verdicts.push(
          problem(
            `there is no ${quote(file)}`,
            `bring it here: install -m 0400 KEY ${shown}; secretsfs keygen makes a new one`,
          ),
        );
      else if (facts.mode !== 0o400 || (facts.uid !== 0 && facts.uid !== machine.uid))
        verdicts.push(
          problem(
            `${quote(file)} has mode ${facts.mode.toString(8).padStart(4, '0')} and belongs to uid ${facts.uid}`,
            `chown root ${shown}; chmod 0400 ${shown}`,
          ),
        );
      else verdicts.push(ok(`${quote(file)} is for its owner alone`));
    }
    return verdicts;
  },
};

export const users: Check = {
  id: 'users',
  area: 'files',
  what: 'users of the processes',
  async run({ machine, plan, instance }) {
    if (plan?.driver === 'fuse-native') return undefined;
    const names = ['server', 'agent', 'unsealer'].map((role) => `secretsfs-${role}`);
    const found = await Promise.all(names.map((name) => machine.user(name)));
    if (plan?.uidBase === undefined && found.every((user) => user === undefined))
      return warning(
        'there are none with a name: a mount takes numbers, which nothing keeps others from taking',
        'install systemd/secretsfs.sysusers.conf as /usr/lib/sysusers.d/secretsfs.conf; systemd-sysusers',
      );
    try {
      const sources = {
        passwd: async () =>
          found.flatMap((user) => (user === undefined ? [] : [`${user.name}:x:${user.uid}:${user.gids[0]}`])),
        uidMap: async () => (await machine.read('/proc/self/uid_map')) ?? '',
      };
      const { origin } = await resolveProcessUsers(
        { instance: instance ?? 'secretsfs', uidBase: plan?.uidBase },
        sources,
      );
      return ok(origin);
    } catch (error) {
      if (!(error instanceof SecretsfsError)) throw error;
      return problem(error.message, error.hint ?? 'systemd-sysusers');
    }
  },
};

export const serials: Check = {
  id: 'serials',
  area: 'files',
  what: 'record of serials',
  async run(subject) {
    const { machine, plan } = subject;
    if (plan === undefined) return undefined;
    const directory = plan.stateDir;
    const facts = await machine.stat(directory);
    if (facts === undefined) return ok(`none yet: the first start makes ${quote(directory)}`);
    const isOurs = facts.kind === 'directory' && facts.uid === machine.uid && (facts.mode & 0o022) === 0;
    const shown = shellQuote(directory);
    if (!isOurs)
      return problem(
        `others may change ${quote(directory)}: an older bundle could pass for a new one`,
        `chown ${machine.uid} ${shown}; chmod go-w ${shown}`,
      );
    return Promise.all(plan.parts.map((part) => recordOf(subject, part.directory, part.name)));
  },
};

/** As a mount calls its records: docs/cli-abi.md, several bundles. */
export function recordFile(stateDir: string, instance: string, directory: string | undefined): string {
  return `${stateDir}/${instance}${directory === undefined ? '' : `,${directory}`}.floor.json`;
}

async function recordOf(
  { machine, plan }: Subject,
  directory: string | undefined,
  name: string,
): Promise<Verdict> {
  const file = recordFile(plan?.stateDir ?? '', plan?.instance ?? '', directory);
  const text = await machine.read(file);
  if (text === undefined) return ok(`none yet of ${quote(name)}: the first start makes ${quote(file)}`);
  const record = readRecord(text);
  if (record?.name === name) return ok(`serial ${record.serial} is the lowest that ${quote(name)} may have`);
  const found =
    record === undefined ? 'holds no record' : `is of ${quote(record.name)}, not of ${quote(name)}`;
  return warning(
    `${quote(file)} ${found}: an older bundle would pass at the next start`,
    `rm ${shellQuote(file)}; secretsfs remount ${plan?.instance ?? ''} (or minSerial in the config)`,
  );
}

export const mountpoint: Check = {
  id: 'mountpoint',
  area: 'mount',
  what: 'mountpoint',
  async run({ machine, plan, instance }) {
    if (plan === undefined) return undefined;
    const place = plan.mountpoint;
    const shown = shellQuote(place);
    const mount = topMount(await machine.mounts(), place);
    if (mount !== undefined && mount.fstype !== 'fuse.secretsfs')
      return problem(`${mount.fstype} is mounted on ${quote(place)}`, `umount ${shown}`);
    // What it serves must not be asked from here.
    const facts = mount === undefined ? await machine.stat(place) : undefined;
    if (mount === undefined && facts === undefined)
      return problem(`there is no ${quote(place)}`, `mkdir -p ${shown}${bootFix(place)}`);
    if (facts !== undefined && facts.kind !== 'directory')
      return problem(`${quote(place)} is no directory`, `mv ${shown} ${shown}.old; mkdir ${shown}`);
    if (mount === undefined && (await machine.list(place)).length > 0)
      return problem(
        `${quote(place)} is not empty: a mount would hide what is in it`,
        `ls -A ${shown}; then move it elsewhere`,
      );
    if (/^(\/var)?\/run\//.test(place) && !(await madeAtBoot(machine, place)))
      return warning(
        `${quote(place)} is gone after a reboot: nothing in tmpfiles.d makes it`,
        bootFix(place).replace(/^; /, ''),
      );
    const unit = instance === undefined ? '' : `, unit ${unitName(instance)}`;
    return ok(
      `${quote(place)}${mount === undefined ? ' is there, nothing is mounted' : ' is mounted'}${unit}`,
    );
  },
};

function bootFix(place: string): string {
  return /^(\/var)?\/run\//.test(place)
    ? `; echo ${shellQuote(`d ${place} 0755 root root -`)} > /etc/tmpfiles.d/${place.split('/').at(-1)}.conf; systemd-tmpfiles --create`
    : '';
}

async function madeAtBoot({ read, list }: Subject['machine'], place: string): Promise<boolean> {
  for (const directory of ['/etc/tmpfiles.d', '/run/tmpfiles.d', '/usr/lib/tmpfiles.d']) {
    for (const name of await list(directory)) {
      const text = (await read(`${directory}/${name}`).catch((error) => `# ${errnoWords(error)}`)) ?? '';
      const makes = text.split('\n').some((line) => {
        const [type = '', path = ''] = line.trim().split(/\s+/);
        return /^[dDvqQ]/.test(type) && path.replace(/\/$/, '') === place;
      });
      if (makes) return true;
    }
  }
  return false;
}
