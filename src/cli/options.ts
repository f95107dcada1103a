/** The flag behind each setting: how yargs reads it and what --help says of it. */
import type { Options } from 'yargs';
import type { SettingName } from '../daemon/config.ts';

const KEYS = 'Keys:';
const AWS = 'AWS:';
const STORE = 'Store:';
const MOUNT = 'Mount:';

const text = (group: string, describe: string): Options => ({
  group,
  describe,
  type: 'string',
  requiresArg: true,
});
const list = (group: string, describe: string): Options => ({
  ...text(group, describe),
  array: true,
  nargs: 1,
});
const flag = (group: string, describe: string): Options => ({ group, describe, type: 'boolean' });

/** Of every command. */
export const COMMON_FLAGS = {
  json: { type: 'boolean', describe: 'print facts as JSON', default: false },
  config: { type: 'string', requiresArg: true, describe: 'YAML file with settings' },
  help: { type: 'boolean', alias: 'h', describe: 'Show help' },
} as const satisfies Readonly<Record<string, Options>>;

/** A setting that is only ever a positional has no flag. */
export const FLAGS: Readonly<Partial<Record<SettingName, Options>>> = {
  name: text('Options:', "the bundle's name; pack and mount take it from the file's name by default"),
  key: list(KEYS, 'wrapping key: local:PATH, or a KMS key id, ARN or alias; repeat for several'),
  acceptKey: list(
    KEYS,
    'key that may open: local:PATH or a KMS key ARN; by default --key, where the command has it; repeat for several',
  ),
  context: list(KEYS, 'encryption context k=v; repeat, or a=1,b=2'),
  formats: list(
    'Options:',
    'formats that are opened although less bound: sneaker, kms-secrets, kms; repeat, or with commas',
  ),
  profile: text(AWS, 'profile of the shared AWS configuration'),
  region: text(AWS, "region, where neither the key's ARN nor the bucket says it"),
  roleArn: text(AWS, 'role to assume'),
  externalId: text(AWS, 'external id for --role-arn'),
  expectedBucketOwner: text(AWS, 'account, twelve digits, that every bucket must belong to'),
  forcePathStyle: flag(AWS, 'address buckets as path segments, for S3-compatible servers'),
  store: text(STORE, 'where secrets are: s3://BUCKET/PREFIX, file:///DIRECTORY or DIRECTORY'),
  sse: text(
    STORE,
    "S3's own encryption of what is written: aws:kms, aws:kms:dsse or AES256 [default: the bucket's]",
  ),
  allowPublic: flag(STORE, 'write to a bucket although it lets everybody in'),
  sseKey: text(STORE, 'KMS key for it: an id, ARN or alias; means --sse aws:kms'),
  driver: text(MOUNT, 'auto, kernel or fuse-native [default: auto]'),
  cache: text(MOUNT, 'page: the kernel keeps what was read; none: it does not [default: page]'),
  fastOpen: flag(
    MOUNT,
    'the kernel opens files without asking: for nginx with a variable in ssl_certificate',
  ),
  audit: flag(MOUNT, 'log who opened which file: each process once a minute for each file'),
  consistency: text(
    MOUNT,
    'process: who opens several files gets them from one generation; none [default: process]',
  ),
  consistencyWindow: text(
    MOUNT,
    'pause after which a process gets what is live, for example 2s [default: 2s]',
  ),
  resend: text(MOUNT, 'off: do not ask the kernel to repeat what a dead server had taken [default: auto]'),
  retireAfter: text(MOUNT, 'how long open files keep a superseded generation, for example 1h [default: 1h]'),
  memoryMax: text(
    MOUNT,
    'refuse a bundle that would take more memory than this while it is opened, for example 512M',
  ),
  uidBase: text(MOUNT, 'number N: server, agent and unsealer run as users N, N+1 and N+2'),
  instance: text(MOUNT, 'what status, remount and unmount call this mount [default: its name]'),
  poll: text(
    MOUNT,
    'how often to ask S3 for a new bundle, for example 30s or 5m [default: 30s; 5m with a queue or topic]',
  ),
  queue: text(MOUNT, 'URL of an SQS queue, of this instance alone, that is told of uploads'),
  topic: text(MOUNT, 'ARN of an SNS topic that is told of uploads: a queue is made, subscribed and removed'),
  spread: text(
    MOUNT,
    'ask S3 within this time of a message, so that a fleet does not ask at once [default: 1s]',
  ),
  unsealLimit: text(MOUNT, 'how many bundles a minute may be opened with KMS keys [default: 10]'),
  maxBytes: text(MOUNT, 'refuse a bundle with more content than this [default: 64M]'),
  maxFiles: text(MOUNT, 'refuse a bundle with more files than this [default: 10000]'),
  minSerial: text(MOUNT, 'refuse a bundle whose serial is lower than this'),
  preserve: flag(MOUNT, 'keep the packed modes and numeric owners'),
  allowSwap: flag(MOUNT, 'mount although the machine may write the secrets to its swap'),
  timeoutStart: text(
    MOUNT,
    'how long to wait at the start for network, credentials and bundle, for example 5m; infinity [default: 0s; infinity where systemd is told]',
  ),
  statusGroup: text(MOUNT, 'group that may read the status and no more'),
  fsname: text(MOUNT, 'what the mount table shows as the source [default: the instance]'),
  selinuxContext: text(MOUNT, 'SELinux context of all files, where SELinux runs (context= of mount)'),
  runtimeDir: text(
    'Options:',
    'directory of the control sockets [default: /run/secretsfs, or under XDG_RUNTIME_DIR]',
  ),
  cacheDir: text(
    MOUNT,
    'directory for the last good bundle, sealed as it came: a start goes by it where no source has one',
  ),
  maxStale: text(
    MOUNT,
    'no start goes by a kept bundle that no source has had for longer, for example 72h [default: no limit]',
  ),
  stateDir: text(
    MOUNT,
    'directory of the highest serials of mounts, and of the journals of rotate [default: /var/lib/secretsfs, or under XDG_STATE_HOME]',
  ),
};
