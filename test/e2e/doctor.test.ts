/** doctor finds what was planted, names its cure, and says nothing of a system that is as it should be. */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { DisableKeyCommand, ScheduleKeyDeletionCommand } from '@aws-sdk/client-kms';
import { PutBucketAclCommand } from '@aws-sdk/client-s3';
import { CHECKS } from '../../src/doctor/checks.ts';
import type { Finding } from '../../src/doctor/finding.ts';
import {
  type DoctorRun,
  type GoodMachine,
  makeBucket,
  rotateByItself,
  runDoctor,
} from '../support/doctor.ts';
import { type FaultProxy, type Rule, startFaultProxy } from '../support/fault-proxy.ts';
import { awsEnv, createKey, type Moto, motoKms, motoS3, startMoto } from '../support/moto.ts';
import { REPOSITORY } from '../support/paths.ts';
import { Bench } from '../support/program.ts';
import { makeCertificate } from '../support/tls.ts';

/** Where nobody answers. */
const NOBODY = 'http://127.0.0.1:1';

let moto: Moto;
let proxy: FaultProxy;
let good: GoodMachine;
let bench: Bench;
let key: string;
let bucket: string;
const cleanups: (() => unknown)[] = [];

/** moto does not know it. */
const policyStatus =
  (isPublic: boolean): Rule =>
  ({ path: asked }) =>
    asked.includes('policyStatus')
      ? answered(`<PolicyStatus><IsPublic>${isPublic}</IsPublic></PolicyStatus>`)
      : undefined;
const answered = (body: string, headers: Record<string, string> = {}) =>
  ({
    kind: 'answer',
    status: 200,
    headers: { 'content-type': 'application/xml', ...headers },
    body,
  }) as const;
const denied =
  (matches: (asked: string, operation: string | undefined) => boolean): Rule =>
  ({ path: asked, operation }) =>
    matches(asked, operation)
      ? {
          kind: 'error',
          status: operation === undefined ? 403 : 400,
          code: operation === undefined ? 'AccessDenied' : 'AccessDeniedException',
        }
      : undefined;

const configOf = (changes: Record<string, string | undefined> = {}) =>
  Object.entries<string | undefined>({
    bundle: `s3://${bucket}/web.enc.tar`,
    mountpoint: bench.path('mnt'),
    acceptKey: `[${key}]`,
    files: '[{match: users, group: www-data, mode: "0640"}]',
    checks: '{expiryWarning: 7d}',
    ...changes,
  })
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}: ${value}`)
    .join('\n');

before(async () => {
  moto = await startMoto();
  proxy = await startFaultProxy(moto.url);
  bench = await Bench.create({ after: (fn: () => unknown) => void cleanups.push(fn) } as never, {
    ...awsEnv(proxy.url, { SECRETSFS_FORCE_PATH_STYLE: 'true', AWS_EC2_METADATA_SERVICE_ENDPOINT: NOBODY }),
  });
  proxy.rules = [policyStatus(false)];
  key = await createKey(moto.url);
  await rotateByItself(moto.url, key);
  bucket = await makeBucket(moto.url);
  for (const name of ['secrets/tls', 'secrets/haproxy', 'secrets/lists', 'mnt'])
    await mkdir(bench.path(name), { recursive: true });
  await makeCertificate(bench.path('secrets/tls'), '0A01');
  const pair = await Promise.all(
    ['crt', 'key'].map((name) => readFile(bench.path(`secrets/tls/web.${name}`))),
  );
  for (const name of ['tls/pair.pem', 'haproxy/a.pem'])
    await writeFile(bench.path('secrets', name), Buffer.concat(pair));
  await writeFile(bench.path('secrets/users'), 'a:b\n');
  await writeFile(bench.path('secrets/lists/good'), '# all\npair.pem [alpn h2] example.org\n');
  await writeFile(bench.path('secrets/lists/bad'), 'pair.pem\n\ngone.pem [alpn h2] example.org\n');
  await bench.must(['pack', '--dir', 'secrets', '--key', key, `s3://${bucket}/web.enc.tar`]);
  const unit = await readFile(path.join(REPOSITORY, 'systemd/secretsfs@.service'), 'utf8');
  good = { bench, config: configOf(), unit, mountpoint: bench.path('mnt') };
  await writeFile(bench.path('web.yaml'), good.config);
  await bench.mount(['--config', 'web.yaml', '--instance', 'web']);
});
after(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
  await proxy?.close();
  await moto?.stop();
});

interface Report {
  readonly findings: readonly Finding[];
}

async function findingsOf(options: Omit<DoctorRun, 'home'>): Promise<{
  readonly code: number;
  readonly all: readonly Finding[];
  readonly bad: readonly Finding[];
  readonly text: string;
}> {
  const { code, stdout, stderr } = await runDoctor({ ...options, home: good });
  assert.notEqual(stdout, '', stderr);
  const { findings } = JSON.parse(stdout) as Report;
  return { code, all: findings, bad: findings.filter(({ state }) => state !== 'ok'), text: stdout };
}

/** Stands for the url of a test's own proxy. */
const PROXY = 'the proxy of this test';
const OTHER_RUNTIME = { SECRETSFS_RUNTIME_DIR: '/run/none-of-ours' };
const drop = (text: string) =>
  `mkdir /etc/systemd/system/secretsfs@.service.d; printf '[Service]\n${text}\n' > /etc/systemd/system/secretsfs@.service.d/own.conf`;
const state = (mode: string, record = '') =>
  `export SECRETSFS_STATE_DIR=$S/state; mkdir -m ${mode} $S/state; ${record === '' ? '' : `echo '${record}' > $S/state/web.floor.json`}`;
const replaced = (file: string, from: string, to: string) => `sed -i 's|${from}|${to}|' ${file}`;
const NGINX = '/etc/nginx/nginx.conf';
const HAPROXY = '/etc/haproxy/haproxy.cfg';
const SERVERS = ['nginx', 'haproxy'];

interface Fault extends Omit<DoctorRun, 'home' | 'config'> {
  readonly name: string;
  /** That is to be found. */
  readonly id: string;
  readonly state: Finding['state'];
  readonly found: RegExp;
  readonly fix: RegExp;
  /** That is nowhere in what is printed. */
  readonly hides?: RegExp;
  /** All that follows from it. */
  readonly also?: readonly string[];
  readonly config?: Record<string, string | undefined>;
  readonly rules?: readonly Rule[];
  /** More of the config. */
  prepare?(): Promise<Record<string, string | undefined>>;
}

async function inBucket(without: Parameters<typeof makeBucket>[1]): Promise<Record<string, string>> {
  const other = await makeBucket(moto.url, without);
  await bench.must(['pack', '--dir', 'secrets', '--key', key, `s3://${other}/web.enc.tar`]);
  return { bundle: `s3://${other}/web.enc.tar` };
}

/** A key in this state, and a bundle under it and the good key. */
async function underKey(
  act: (kms: ReturnType<typeof motoKms>, KeyId: string) => Promise<unknown>,
  rotates = true,
) {
  const other = await createKey(moto.url);
  if (rotates) await rotateByItself(moto.url, other);
  const location = `s3://${bucket}/${other.slice(-8)}/web.enc.tar`;
  await bench.must(['pack', '--dir', 'secrets', '--key', key, '--key', other, location]);
  const kms = motoKms(moto.url);
  await act(kms, other.split('/')[1] ?? '');
  kms.destroy();
  return { bundle: location, acceptKey: `[${key}, ${other}]` };
}

const FAULTS: readonly Fault[] = [
  {
    name: '/dev/fuse without a kernel module',
    id: 'fuse-device',
    state: 'problem',
    plant: 'mknod $S/fuse c 240 77; mount --bind $S/fuse /dev/fuse',
    found: /no FUSE behind it/,
    fix: /^modprobe fuse/,
  },
  {
    name: 'a file in place of /dev/fuse',
    id: 'fuse-device',
    state: 'problem',
    plant: 'touch $S/fuse; mount --bind $S/fuse /dev/fuse',
    found: /it is a file/,
    fix: /mknod -m 0666 \/dev\/fuse c 10 229/,
  },
  {
    name: 'a kernel that is too old',
    id: 'kernel',
    state: 'problem',
    by: 'setarch --uname-2.6',
    config: { driver: 'kernel' },
    also: ['config'],
    found: /^Linux 2\.6\.\d+.*: the kernel driver needs 5\.4/,
    fix: /boot a newer kernel, or set driver: fuse-native/,
  },
  {
    name: 'util-linux without setpriv',
    id: 'programs',
    state: 'problem',
    plant: 'mount --bind /dev/null $(command -v setpriv)',
    found: /there is no setpriv/,
    fix: /^apt install util-linux$/,
  },
  {
    name: 'NODE_OPTIONS in the environment',
    id: 'environment',
    state: 'warning',
    env: { NODE_OPTIONS: '--no-deprecation' },
    found: /NODE_OPTIONS changes/,
    fix: /^unset NODE_OPTIONS$/,
  },
  {
    name: 'a clock that is behind',
    id: 'clock',
    state: 'problem',
    rules: [
      ({ path: asked }) =>
        asked.includes('versioning')
          ? answered('<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>', {
              date: new Date(Date.now() + 20 * 60_000).toUTCString(),
            })
          : undefined,
    ],
    found: /20 min behind that of S3/,
    fix: /^timedatectl set-ntp true/,
  },
  {
    name: 'swap that nothing keeps us out of',
    id: 'swap',
    state: 'problem',
    plant: "bindText /proc/swaps 'Filename Type Size Used Priority\n/dev/vda9 partition 1000 0 -2'",
    found: /swaps to \/dev\/vda9/,
    fix: /swapoff -a.*secretsfs@web/,
  },
  {
    name: 'hibernation that nothing guards',
    id: 'hibernation',
    state: 'warning',
    also: ['swap'],
    plant: `bindText /proc/swaps 'Filename Type Size Used Priority\n/dev/vda9 partition 1000 0 -2'
mkdir $S/power; echo 'mem disk' > $S/power/state; echo '[platform]' > $S/power/disk; mount --bind $S/power /sys/power`,
    found: /can hibernate/,
    fix: /systemctl enable secretsfs-hibernate; or systemctl mask hibernate\.target/,
  },
  {
    name: 'core dumps that systemd keeps',
    id: 'core-pattern',
    state: 'warning',
    plant: "bindText /proc/sys/kernel/core_pattern '|/usr/lib/systemd/systemd-coredump %P'",
    found: /systemd-coredump/,
    fix: /Storage=none/,
  },
  {
    name: 'dumps of what has changed its user',
    id: 'core-pattern',
    state: 'warning',
    plant: 'bindText /proc/sys/fs/suid_dumpable 1',
    found: /suid_dumpable is 1/,
    fix: /sysctl -w fs.suid_dumpable=0/,
  },
  {
    name: 'next to no memory to lock',
    id: 'memlock',
    state: 'problem',
    env: OTHER_RUNTIME,
    plant: replaced('/etc/systemd/system/secretsfs@.service', '^LimitMEMLOCK=', '#&'),
    also: ['mount', 'unit'],
    by: 'prlimit --memlock=65536:65536 --',
    found: /65536 bytes, of this shell, want 1048592: the mount does not start/,
    fix: /LimitMEMLOCK=infinity/,
  },
  {
    name: 'no memory for the next bundle',
    id: 'memory-headroom',
    state: 'problem',
    plant: "bindText /proc/meminfo 'MemAvailable: 1 kB'",
    found: /0\.0 MiB can be had/,
    fix: /more memory/,
  },
  {
    name: 'a setting that is none',
    id: 'config',
    state: 'problem',
    config: { pol: '30s' },
    found: /pol.*line \d|line \d.*pol/s,
    fix: /./,
  },
  {
    name: 'no config',
    id: 'config',
    state: 'problem',
    plant: 'rm /etc/secretsfs/web.yaml',
    found: /cannot read config "\/etc\/secretsfs\/web.yaml"/,
    fix: /give the path of a YAML file/,
  },
  {
    name: 'a config that everybody may write',
    id: 'config-trust',
    state: 'problem',
    plant: 'chmod 0666 /etc/secretsfs/web.yaml',
    found: /"\/etc\/secretsfs\/web.yaml" is writable by everybody/,
    fix: /^chmod go-w \/etc\/secretsfs\/web.yaml$/,
  },
  {
    name: "a config in somebody else's directory",
    id: 'config-trust',
    state: 'problem',
    plant: 'chown 1000 /etc/secretsfs',
    found: /"\/etc\/secretsfs" belongs to uid 1000/,
    fix: /^chown root \/etc\/secretsfs$/,
  },
  {
    name: 'a local key that others may read',
    id: 'key-files',
    state: 'problem',
    also: ['key-decrypt', ...SERVERS],
    prepare: async () => ({ acceptKey: `[${key}, local:/etc/secretsfs/key]` }),
    plant: 'head -c 32 /dev/urandom > /etc/secretsfs/key; chmod 0644 /etc/secretsfs/key',
    found: /has mode 0644/,
    fix: /chmod 0400 \/etc\/secretsfs\/key/,
  },
  {
    name: 'no users of our own',
    id: 'users',
    state: 'warning',
    plant: "sed -i '/^secretsfs-/d' /etc/passwd",
    found: /none with a name/,
    fix: /systemd-sysusers/,
  },
  {
    name: 'two of three users',
    id: 'users',
    state: 'problem',
    plant: "sed -i '/^secretsfs-agent:/d' /etc/passwd",
    found: /no user "secretsfs-agent"/,
    fix: /systemd-sysusers/,
  },
  {
    name: 'a record of serials that everybody may write',
    id: 'serials',
    state: 'problem',
    plant: state('0777'),
    found: /others may change/,
    fix: /chmod go-w/,
  },
  {
    name: 'a record of serials that is none',
    id: 'serials',
    state: 'warning',
    plant: state('0700', 'no json'),
    found: /holds no record/,
    fix: /^rm .*web\.floor\.json; secretsfs remount web/,
  },
  {
    name: 'an older bundle than was live',
    id: 'serial',
    state: 'problem',
    plant: state(
      '0700',
      `{"version":1,"name":"web","serial":9007199254740991,"sha256":"${'0'.repeat(64)}","recorded":""}`,
    ),
    found: /9007199254740991 was live/,
    fix: /^secretsfs reseal s3:/,
  },
  {
    name: 'no unit',
    id: 'unit',
    state: 'warning',
    plant: 'rm /etc/systemd/system/secretsfs@.service',
    found: /there is no secretsfs@web\.service/,
    fix: /^cp systemd\/secretsfs@\.service/,
  },
  {
    name: 'a unit of another version',
    id: 'unit',
    state: 'warning',
    plant: "echo '# own' >> /etc/systemd/system/secretsfs@.service",
    found: /not the one that this version ships/,
    fix: /systemctl edit secretsfs@web\.service.*daemon-reload/,
  },
  {
    name: 'a drop-in that hides the mount',
    id: 'unit-settings',
    state: 'problem',
    plant: drop('ProtectSystem=strict'),
    found: /ProtectSystem=strict of .*own\.conf hides the mount/,
    fix: /take ProtectSystem= out of .*own\.conf/,
  },
  {
    name: 'a drop-in that lets it be swapped',
    id: 'unit-settings',
    state: 'problem',
    plant: drop('MemorySwapMax=infinity'),
    found: /MemorySwapMax=infinity.*swapped out/,
    fix: /take MemorySwapMax= out of/,
  },
  {
    name: 'an nginx that does not wait for the mount',
    id: 'order',
    state: 'warning',
    plant: 'rm /etc/systemd/system/nginx.service.d/secretsfs.conf',
    found: /nginx may start before/,
    fix: /^install -D -m 644 systemd\/nginx-drop-in\.conf .*nginx\.service\.d\/secretsfs\.conf/,
  },
  {
    name: 'an nginx that starts where the mount failed',
    id: 'order',
    state: 'warning',
    plant: "sed -i '/^Exec/d' /etc/systemd/system/nginx.service.d/secretsfs.conf",
    found: /nginx starts without its files where the mount failed/,
    fix: /^install -D -m 644 systemd\/nginx-drop-in\.conf/,
  },
  {
    name: 'a haproxy that is restarted with the mount',
    id: 'order',
    state: 'warning',
    plant: replaced('/etc/systemd/system/haproxy.service.d/secretsfs.conf', 'Wants', 'Requires'),
    found: /haproxy requires/,
    fix: /^install -D -m 644 systemd\/haproxy-drop-in\.conf/,
  },
  {
    name: 'no credentials',
    id: 'credentials',
    state: 'problem',
    also: [
      'bucket-block',
      'bucket-policy',
      'bucket-acl',
      'bucket-logging',
      'bucket-versioning',
      'bucket-encryption',
      'key-state',
      'key-rotation',
      'source',
      ...SERVERS,
    ],
    env: { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' },
    found: /credentials-missing/,
    fix: /./,
  },
  {
    name: 'a session that ends',
    id: 'credentials',
    state: 'warning',
    env: {
      AWS_SESSION_TOKEN: 'x',
      AWS_CREDENTIAL_EXPIRATION: new Date(Date.now() + 3_600_000).toISOString(),
    },
    found: /from the environment, until .*can't renew/,
    fix: /associate-iam-instance-profile/,
  },
  {
    name: "a profile that the agent can't read",
    id: 'credentials-readable',
    state: 'problem',
    plant: `mkdir -m 0700 $S/aws; printf '[default]\naws_access_key_id = testing\naws_secret_access_key = testing\n' > $S/aws/credentials
export AWS_SHARED_CREDENTIALS_FILE=$S/aws/credentials`,
    env: { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' },
    found: /can't be read by the users of agent and unsealer/,
    fix: /AWS_SHARED_CREDENTIALS_FILE=/,
  },
  {
    name: 'a region that is none',
    id: 'region',
    state: 'problem',
    also: [
      'credentials',
      'bucket-block',
      'bucket-policy',
      'bucket-acl',
      'bucket-logging',
      'bucket-versioning',
      'bucket-encryption',
      'key-state',
      'key-rotation',
      'source',
      ...SERVERS,
    ],
    env: { AWS_REGION: 'Ireland' },
    found: /"Ireland"/,
    fix: /eu-west-1/,
  },
  {
    name: 'a metadata service without tokens',
    id: 'imds',
    state: 'problem',
    env: { AWS_EC2_METADATA_SERVICE_ENDPOINT: PROXY },
    rules: [
      ({ path: asked }) => (/^\/latest\/(meta-data\/|api\/token)$/.test(asked) ? answered('x') : undefined),
    ],
    found: /IMDSv1/,
    fix: /--http-tokens required/,
  },
  {
    name: 'a metadata service that all users reach',
    id: 'imds',
    state: 'warning',
    env: { AWS_EC2_METADATA_SERVICE_ENDPOINT: PROXY },
    rules: [
      ({ path: asked }) =>
        asked === '/latest/meta-data/'
          ? { kind: 'answer', status: 401, headers: {}, body: '' }
          : asked === '/latest/api/token'
            ? answered('x')
            : undefined,
    ],
    found: /any user of this machine/,
    fix: /^iptables -I OUTPUT -d 127\.0\.0\.1 -j REJECT; for u in root secretsfs-agent secretsfs-unsealer/,
  },
  ...(['block', 'versioning', 'logging', 'encryption'] as const).map(
    (without): Fault => ({
      name: `a bucket without ${without}`,
      id: `bucket-${without}`,
      state: 'warning',
      prepare: () => inBucket([without]),
      found: /"bundles-/,
      fix: new RegExp(`^aws s3api put-(public-access-${without}|bucket-${without}) --bucket bundles-`),
    }),
  ),
  {
    name: 'a bucket whose policy lets everybody in',
    id: 'bucket-policy',
    state: 'problem',
    also: ['bucket-block'],
    prepare: () => inBucket(['block']),
    rules: [policyStatus(true)],
    found: /lets everybody in/,
    fix: /^aws s3api put-public-access-block --bucket bundles-/,
  },
  {
    name: 'a bucket whose ACL lets everybody in',
    id: 'bucket-acl',
    state: 'problem',
    also: ['bucket-block'],
    async prepare() {
      const made = await inBucket(['block']);
      const s3 = motoS3(moto.url);
      await s3.send(new PutBucketAclCommand({ Bucket: made['bundle']?.split('/')[2], ACL: 'public-read' }));
      s3.destroy();
      return made;
    },
    found: /lets everybody in/,
    fix: /put-bucket-acl --bucket bundles-\w+ --acl private/,
  },
  {
    name: 'a question about the bucket that is denied',
    id: 'bucket-logging',
    state: 'unknown',
    rules: [denied((asked) => /\?logging/.test(asked))],
    found: /S3 answered AccessDenied/,
    fix: /grant s3:GetBucketLogging/,
  },
  {
    name: 'no such object',
    id: 'source',
    state: 'problem',
    also: SERVERS,
    prepare: async () => ({ bundle: `s3://${bucket}/none/web.enc.tar` }),
    found: /source-not-found/,
    fix: /aws s3 ls/,
  },
  {
    name: 'an object that may not be read',
    id: 'source',
    state: 'problem',
    also: SERVERS,
    rules: [denied((asked) => /web\.enc\.tar/.test(asked))],
    found: /source-denied/,
    fix: /grant s3:GetObject/,
  },
  {
    name: 'a disabled key',
    id: 'key-state',
    state: 'problem',
    prepare: () => underKey((kms, KeyId) => kms.send(new DisableKeyCommand({ KeyId }))),
    found: /is disabled/,
    fix: /^secretsfs keys enable arn:aws:kms:/,
  },
  {
    name: 'a key that will be deleted',
    id: 'key-state',
    state: 'problem',
    prepare: () =>
      underKey((kms, KeyId) => kms.send(new ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays: 7 }))),
    found: /will be deleted at 20/,
    fix: /^secretsfs keys delete arn:aws:kms:\S+ --cancel/,
  },
  {
    name: 'a key that never rotates',
    id: 'key-rotation',
    state: 'warning',
    prepare: () => underKey(async () => undefined, false),
    found: /never rotates/,
    fix: /^secretsfs keys rotation on arn:aws:kms:/,
  },
  {
    name: 'a role that may not decrypt',
    id: 'key-decrypt',
    state: 'problem',
    also: SERVERS,
    rules: [denied((_, operation) => operation === 'Decrypt')],
    found: /key-denied/,
    fix: /grant kms:Decrypt/,
  },
  {
    name: 'a bundle with a byte that is another',
    id: 'bundle',
    state: 'problem',
    also: SERVERS,
    rules: [
      ({ path: asked }) =>
        /web\.enc\.tar/.test(asked) ? { kind: 'spoil', how: 'flip', part: 0.7 } : undefined,
    ],
    found: /bundle-corrupt/,
    fix: /./,
  },
  {
    name: 'a bundle of another name',
    id: 'bundle',
    state: 'problem',
    also: [...SERVERS, 'serials'],
    config: { name: 'mail' },
    found: /bundle-name/,
    fix: /--name/,
  },
  {
    name: 'a bundle without what is required',
    id: 'bundle',
    state: 'problem',
    config: { checks: '{expiryWarning: 7d, required: [tls/www.crt]}' },
    found: /"tls\/www\.crt" \(required\)/,
    fix: /secretsfs pack again/,
  },
  {
    name: 'an nginx that wants what is not in the bundle',
    id: 'nginx',
    state: 'problem',
    plant: replaced(NGINX, 'web.crt', 'www.crt'),
    found: /tls\/www\.crt" of \/etc\/nginx\/nginx\.conf:\d+ is not in the bundle/,
    fix: /pack the bundle with it, or correct \/etc\/nginx\/nginx\.conf:\d+/,
  },
  {
    name: "an nginx whose workers can't read what they are to read",
    id: 'nginx',
    state: 'problem',
    plant: replaced(NGINX, 'web.crt', '$ssl_server_name.crt'),
    found: /keeps out www-data, which reads it while it serves/,
    fix: /files: .*match: "tls\/web\.crt", group: www-data/,
  },
  {
    name: 'an include of nginx that is cut off',
    id: 'nginx',
    state: 'warning',
    plant: `echo 'types {' > /etc/nginx/mime.types`,
    found: /mime\.types" ends within a block/,
    fix: /^nginx -t$/,
  },
  {
    name: 'a haproxy that wants what is not in the bundle',
    id: 'haproxy',
    state: 'problem',
    plant: replaced(HAPROXY, 'pair.pem', 'other.pem'),
    found: /tls\/other\.pem" of \/etc\/haproxy\/haproxy\.cfg:5 is not in the bundle/,
    fix: /correct \/etc\/haproxy\/haproxy\.cfg:5/,
  },
  {
    name: 'a list of haproxy with what is not in the bundle',
    id: 'haproxy',
    state: 'problem',
    plant: `echo 'gone.pem [alpn h2] example.org' > /etc/haproxy/list; ${replaced(HAPROXY, 'crt pair.pem', 'crt-list /etc/haproxy/list')}`,
    found: /tls\/gone\.pem" of \/etc\/haproxy\/list:1 is not in the bundle/,
    fix: /correct \/etc\/haproxy\/list:1/,
  },
  {
    name: 'a list of haproxy in the bundle, with what is not in it',
    id: 'haproxy',
    state: 'problem',
    plant: replaced(HAPROXY, 'lists/good', 'lists/bad'),
    found: /^what ".*\/lists\/bad:3" names is not in the bundle/,
    fix: /correct .*\/lists\/bad:3/,
    hides: /gone\.pem/,
  },
  {
    name: 'a key in place of a list of haproxy',
    id: 'haproxy',
    state: 'problem',
    plant: replaced(HAPROXY, 'lists/good', 'tls/web.key'),
    found: /tls\/web\.key" is no list of certificates/,
    fix: /name a certificate by crt/,
    hides: /-----|[A-Za-z0-9+=]{50}/,
  },
  {
    name: 'a rule that keeps nginx from its key',
    id: 'nginx',
    state: 'problem',
    config: { access: '[{match: "tls/*.key", allow: [{user: www-data}, {unit: none.service}]}]' },
    found: /tls\/web\.key" of .*nginx\.conf:\d+: the rule of access: for "tls\/\*\.key" refuses root/,
    fix: /to allow: of match: "tls\/\*\.key" add \{user: root/,
  },
  {
    name: 'no mountpoint',
    id: 'mountpoint',
    state: 'problem',
    also: ['mount'],
    config: { mountpoint: '/srv/none-of-ours' },
    found: /there is no "\/srv\/none-of-ours"/,
    fix: /^mkdir -p \/srv\/none-of-ours$/,
  },
  {
    name: 'a mountpoint that is gone after a reboot',
    id: 'mountpoint',
    state: 'warning',
    also: ['mount'],
    config: { mountpoint: '/run/none-of-ours' },
    plant: 'mkdir $S/run; mkdir $S/run/none-of-ours; mount --bind $S/run /run',
    found: /gone after a reboot/,
    fix: /echo 'd \/run\/none-of-ours 0755 root root -' > \/etc\/tmpfiles\.d\/none-of-ours\.conf/,
  },
  {
    name: 'a mount that nobody serves',
    id: 'mount',
    state: 'problem',
    env: OTHER_RUNTIME,
    found: /is mounted and nobody serves it/,
    fix: /^umount -l .*systemctl start secretsfs@web\.service$/,
  },
  {
    name: 'no mount',
    id: 'mount',
    state: 'warning',
    env: OTHER_RUNTIME,
    plant: 'umount -l $PWD/mnt',
    found: /it is not running/,
    fix: /^systemctl start secretsfs@web\.service$/,
  },
];

test('doctor finds nothing on a good system, and has looked at everything', async () => {
  const { bad, all, code } = await findingsOf({ args: ['web', '--json', '--strict'] });
  assert.deepEqual(bad, []);
  assert.equal(code, 0);
  const silent = CHECKS.map(({ id }) => id).filter((id) => !all.some((finding) => finding.id === id));
  // No local key, no fuse-native, no profile here.
  assert.deepEqual(silent, ['fuse-conf', 'key-files', 'credentials-readable']);
});

// Most of their time they wait; each has a proxy of its own.
describe('each fault that is planted is found', { concurrency: 3 }, () => {
  for (const {
    name,
    id,
    state,
    found,
    fix,
    hides,
    also = [],
    config,
    rules = [],
    prepare,
    ...run
  } of FAULTS) {
    test(`doctor finds ${name}, and says what mends it`, async (t) => {
      const own = await startFaultProxy(moto.url);
      t.after(() => own.close());
      own.rules = [...rules, policyStatus(false)];
      const prepared = await prepare?.();
      const env = Object.entries({ ...run.env, AWS_ENDPOINT_URL: PROXY }).map(([name, value]) => {
        return [name, value === PROXY ? own.url : value];
      });
      const { bad, code, text } = await findingsOf({
        ...run,
        env: Object.fromEntries(env),
        config: configOf({ ...config, ...prepared }),
      });
      const finding = bad.find((each) => each.id === id && each.state === state);
      assert.ok(finding !== undefined, JSON.stringify(bad, null, 1));
      assert.match(finding.found, found);
      assert.match(finding.fix ?? '', fix);
      if (hides !== undefined) assert.doesNotMatch(text, hides);
      const others = [...new Set(bad.map((each) => each.id))].filter((each) => each !== id);
      assert.deepEqual(others.sort(), [...also].sort(), text);
      assert.equal(code, bad.some((each) => each.state === 'problem') ? 11 : 0);
    });
  }
});

test('credentials that the unit has and this shell has not are looked with, and not said', async () => {
  const secret = 'tHeUnItSoWnSeCrEt';
  await writeFile(bench.path('unit.env'), `AWS_SECRET_ACCESS_KEY="${secret}"\n`, { mode: 0o600 });
  const { code, all, bad, text } = await findingsOf({
    plant: drop(`Environment=AWS_ACCESS_KEY_ID=AKIAUNIT\\nEnvironmentFile=${bench.path('unit.env')}`),
    env: { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' },
  });
  assert.deepEqual([code, bad], [0, []]);
  const found = all.filter(({ id }) => id === 'credentials').map((each) => each.found);
  assert.deepEqual(found, [
    'from the environment, a key that does not expire',
    'looked with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY as secretsfs@web.service sets them',
  ]);
  assert.doesNotMatch(text, new RegExp(`${secret}|AKIAUNIT`));
});

test('at least 25 different faults are planted, of each check one', () => {
  assert.ok(new Set(FAULTS.map(({ name }) => name)).size >= 25);
  const planted = new Set(FAULTS.map(({ id }) => id));
  // For a user without root alone: test/unit/doctor/checks.test.ts.
  assert.deepEqual(
    CHECKS.map(({ id }) => id).filter((id) => !planted.has(id)),
    ['fuse-conf'],
  );
});
