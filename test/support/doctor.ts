/**
 * A machine for doctor to look at: this one, in a mount namespace of its own where /etc is an overlay and files of /proc and
 * /sys can be replaced. Nothing of it is left, and nothing outside of it changed.
 */
import { writeFile } from 'node:fs/promises';
import { EnableKeyRotationCommand } from '@aws-sdk/client-kms';
import {
  type BucketLocationConstraint,
  CreateBucketCommand,
  PutBucketEncryptionCommand,
  PutBucketLoggingCommand,
  PutBucketVersioningCommand,
  PutPublicAccessBlockCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { motoKms, motoS3, unique } from './moto.ts';
import { type Bench, type Outcome, run } from './program.ts';

export interface DoctorRun {
  /** Shell, as root, in the namespace, after it was made good. */
  readonly plant?: string;
  /** Of /etc/secretsfs/web.yaml. */
  readonly config?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly args?: readonly string[];
  /** What the program is started by: prlimit …, say. */
  readonly by?: string;
  readonly home: GoodMachine;
}

export interface GoodMachine {
  readonly bench: Bench;
  readonly config: string;
  readonly unit: string;
  readonly mountpoint: string;
}

const USERS = ['server', 'agent', 'unsealer']
  .map((role, i) => `secretsfs-${role}:x:${64001 + i}:${64001 + i}::/:/usr/sbin/nologin`)
  .join('\n');

/** `secretsfs doctor web ARGS…` there. */
export async function runDoctor(options: DoctorRun): Promise<Outcome> {
  const { plant = '', config, env, args = ['web', '--json'], by = '', home } = options;
  const { bench, mountpoint, unit } = home;
  const heredoc = (file: string, text: string) => `cat > ${file} <<'END_OF_FILE'\n${text}\nEND_OF_FILE\n`;
  const order = `[Unit]
Wants=secretsfs@web.service
After=secretsfs@web.service
[Service]
ExecStartPre=+/usr/bin/secretsfs wait web --restarts`;
  const script = `set -eu
S=$(mktemp -d ${bench.path('machine-XXXXXX')})
mount -t tmpfs -o mode=0755 scratch $S
mkdir $S/upper $S/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=$S/upper,workdir=$S/work /etc
bindText() { echo "$2" > $S/$(basename $1); mount --bind $S/$(basename $1) $1; }
bindText /proc/sys/kernel/core_pattern core
bindText /proc/sys/fs/suid_dumpable 0
bindText /proc/swaps 'Filename Type Size Used Priority'
${heredoc('$S/users', USERS)}cat $S/users >> /etc/passwd
sed -n 's/^\\([^:]*\\):x:\\([0-9]*\\).*/\\1:x:\\2:/p' $S/users >> /etc/group
mkdir -p /etc/secretsfs /etc/systemd/system/nginx.service.d /etc/systemd/system/haproxy.service.d
chmod 0700 /etc/secretsfs
${heredoc('/etc/secretsfs/web.yaml', config ?? home.config)}
${heredoc('/etc/systemd/system/secretsfs@.service', unit)}
${heredoc('/etc/systemd/system/nginx.service.d/secretsfs.conf', order)}
${heredoc('/etc/systemd/system/haproxy.service.d/secretsfs.conf', order)}
${heredoc('/etc/nginx/nginx.conf', nginxConf(mountpoint))}
${heredoc('/etc/haproxy/haproxy.cfg', haproxyCfg(mountpoint))}
${plant}
exec ${by} ${process.execPath} ${bench.program} doctor ${args.join(' ')}
`;
  const file = bench.path(unique('doctor'));
  await writeFile(file, script);
  return run('unshare', ['-m', '--propagation', 'private', 'bash', file], {
    env: { ...bench.env, ...env },
    cwd: bench.directory,
  });
}

function nginxConf(mountpoint: string): string {
  return `user www-data;
events {}
http {
  include /etc/nginx/mime.types;
  server {
    listen 443 ssl;
    ssl_certificate ${mountpoint}/tls/web.crt;
    ssl_certificate_key "${mountpoint}/tls/web.key";
    location /private { auth_basic_user_file ${mountpoint}/users; }
  }
}`;
}

function haproxyCfg(mountpoint: string): string {
  return `global
  user haproxy
  crt-base ${mountpoint}/tls
frontend web
  bind :8443 ssl crt pair.pem crt ${mountpoint}/haproxy/ crt-list ${mountpoint}/lists/good`;
}

/** What the bucket of a good machine has; what is named is left out. */
export async function makeBucket(
  url: string,
  without: readonly ('block' | 'versioning' | 'logging' | 'encryption')[] = [],
): Promise<string> {
  const client = motoS3(url);
  const Bucket = unique('bundles');
  await create(client, Bucket);
  if (!without.includes('block')) {
    const PublicAccessBlockConfiguration = {
      ...{
        BlockPublicAcls: true,
        IgnorePublicAcls: true,
        BlockPublicPolicy: true,
        RestrictPublicBuckets: true,
      },
    };
    await client.send(new PutPublicAccessBlockCommand({ Bucket, PublicAccessBlockConfiguration }));
  }
  if (!without.includes('versioning'))
    await client.send(
      new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: 'Enabled' } }),
    );
  if (!without.includes('logging')) await log(client, Bucket);
  if (!without.includes('encryption')) {
    const Rules = [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: 'aws:kms' as const } }];
    await client.send(
      new PutBucketEncryptionCommand({ Bucket, ServerSideEncryptionConfiguration: { Rules } }),
    );
  }
  client.destroy();
  return Bucket;
}

async function create(client: S3Client, Bucket: string, more: object = {}): Promise<void> {
  const LocationConstraint = 'eu-west-1' as BucketLocationConstraint;
  await client.send(
    new CreateBucketCommand({ Bucket, CreateBucketConfiguration: { LocationConstraint }, ...more }),
  );
}

async function log(client: S3Client, Bucket: string): Promise<void> {
  const TargetBucket = unique('logs');
  await create(client, TargetBucket, { ACL: 'log-delivery-write' });
  const BucketLoggingStatus = { LoggingEnabled: { TargetBucket, TargetPrefix: `${Bucket}/` } };
  await client.send(new PutBucketLoggingCommand({ Bucket, BucketLoggingStatus }));
}

export async function rotateByItself(url: string, key: string): Promise<void> {
  const client = motoKms(url);
  await client.send(new EnableKeyRotationCommand({ KeyId: key }));
  client.destroy();
}
