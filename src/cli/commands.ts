/**
 * Which commands there are. Each is loaded when it is called: `version` must not wait for the AWS SDK to be read. The
 * descriptions are here, so that --help loads none. A name of two words is a command of a group: `keys ls`.
 */
import type { Command } from './command.ts';

export interface KnownCommand {
  readonly name: string;
  readonly describe: string;
  load(): Promise<Command>;
}

export const COMMANDS: readonly KnownCommand[] = [
  {
    name: 'pack',
    describe: 'seal a directory or a tar into a bundle',
    load: async () => (await import('./pack.ts')).pack,
  },
  {
    name: 'unpack',
    describe: 'open a bundle into a directory or a tar',
    load: async () => (await import('./unpack.ts')).unpack,
  },
  {
    name: 'reseal',
    describe: 'give the content of a bundle a new serial, and new keys: the way back to older content',
    load: async () => (await import('./reseal.ts')).reseal,
  },
  {
    name: 'inspect',
    describe: 'show what a bundle says of itself; needs no key',
    load: async () => (await import('./inspect.ts')).inspect,
  },
  {
    name: 'verify',
    describe: 'open a bundle, list it, print no content',
    load: async () => (await import('./verify.ts')).verify,
  },
  {
    name: 'encrypt',
    describe: 'encrypt a file with KMS alone; over 4 KiB into an envelope',
    load: async () => (await import('./encrypt.ts')).encrypt,
  },
  {
    name: 'decrypt',
    describe: 'decrypt what encrypt, aws kms encrypt or sneaker wrote',
    load: async () => (await import('./decrypt.ts')).decrypt,
  },
  {
    name: 'reencrypt',
    describe: 'put a KMS ciphertext under another key, within KMS',
    load: async () => (await import('./reencrypt.ts')).reencrypt,
  },
  {
    name: 'datakey create',
    describe: "make a wrapped data key for a program's own encryption",
    load: async () => (await import('./datakey-create.ts')).datakeyCreate,
  },
  {
    name: 'ls',
    describe: 'list the secrets of a store',
    load: async () => (await import('./ls.ts')).ls,
  },
  {
    name: 'rm',
    describe: 'remove secrets from the store',
    load: async () => (await import('./rm.ts')).rm,
  },
  {
    name: 'mv',
    describe: 'move a secret of the store to another path',
    load: async () => (await import('./mv.ts')).mv,
  },
  {
    name: 'history',
    describe: 'show the versions of a secret that the bucket keeps',
    load: async () => (await import('./history.ts')).history,
  },
  {
    name: 'restore',
    describe: 'bring an older version of a secret back',
    load: async () => (await import('./restore.ts')).restore,
  },
  {
    name: 'keygen',
    describe: 'make a local key file',
    load: async () => (await import('./keygen.ts')).keygen,
  },
  {
    name: 'rotate',
    describe: 'give the secrets of a store new data keys, and other wrapping keys',
    load: async () => (await import('./rotate.ts')).rotate,
  },
  {
    name: 'sync',
    describe: 'put into a store what changed in a directory',
    load: async () => (await import('./sync.ts')).sync,
  },
  {
    name: 'diff',
    describe: 'what differs between bundles, directories and stores; never contents',
    load: async () => (await import('./diff.ts')).diff,
  },
  {
    name: 'shred',
    describe: 'overwrite files and remove them',
    load: async () => (await import('./shred.ts')).shred,
  },
  {
    name: 'upload',
    describe: 'put a file into the store, or what comes on stdin',
    load: async () => (await import('./upload.ts')).upload,
  },
  {
    name: 'download',
    describe: 'take a secret out of the store into a file',
    load: async () => (await import('./download.ts')).download,
  },
  {
    name: 'put',
    describe: 'put a value into the store, typed without echo or piped in',
    load: async () => (await import('./put.ts')).put,
  },
  {
    name: 'get',
    describe: 'write a secret of the store to stdout',
    load: async () => (await import('./get.ts')).get,
  },
  {
    name: 'exec',
    describe: 'run a program with secrets of the store in its environment',
    load: async () => (await import('./exec.ts')).exec,
  },
  {
    name: 'mount',
    describe: 'serve a bundle at a mountpoint, in the foreground',
    load: async () => (await import('./mount.ts')).mount,
  },
  {
    name: 'status',
    describe: 'show the running mounts',
    load: async () => (await import('./status.ts')).status,
  },
  {
    name: 'doctor',
    describe: 'look for what is wrong or missing, and say what mends it; changes nothing',
    load: async () => (await import('./doctor.ts')).doctor,
  },
  {
    name: 'remount',
    describe: 'fetch, open and activate the newest bundle now',
    load: async () => (await import('./remount.ts')).remount,
  },
  {
    name: 'hook',
    describe: 'run a hook of a mount now',
    load: async () => (await import('./hook.ts')).hook,
  },
  {
    name: 'upgrade',
    describe: 'replace the processes of a mount by the program on disk',
    load: async () => (await import('./upgrade.ts')).upgrade,
  },
  {
    name: 'unmount',
    describe: 'unmount, wipe and end',
    load: async () => (await import('./unmount.ts')).unmount,
  },
  {
    name: 'wait',
    describe: 'wait until a mount is ready',
    load: async () => (await import('./wait.ts')).wait,
  },
  {
    name: 'keys ls',
    describe: 'list KMS keys with their aliases and states',
    load: async () => (await import('./keys-ls.ts')).keysLs,
  },
  {
    name: 'keys show',
    describe: 'show what KMS knows of a key',
    load: async () => (await import('./keys-show.ts')).keysShow,
  },
  {
    name: 'keys create',
    describe: 'make a key, its policy and its alias',
    load: async () => (await import('./keys-create.ts')).keysCreate,
  },
  {
    name: 'keys alias',
    describe: 'set, move or remove an alias',
    load: async () => (await import('./keys-alias.ts')).keysAlias,
  },
  {
    name: 'keys rotation',
    describe: 'turn the rotation of a key on or off, or rotate it now',
    load: async () => (await import('./keys-rotation.ts')).keysRotation,
  },
  {
    name: 'keys policy',
    describe: 'print the policy of a key, or replace it',
    load: async () => (await import('./keys-policy.ts')).keysPolicy,
  },
  {
    name: 'keys disable',
    describe: 'disable a key, until it is enabled again',
    load: async () => (await import('./keys-state.ts')).keysDisable,
  },
  {
    name: 'keys enable',
    describe: 'enable a key',
    load: async () => (await import('./keys-state.ts')).keysEnable,
  },
  {
    name: 'keys usage',
    describe: 'list what is still wrapped by a key',
    load: async () => (await import('./keys-usage.ts')).keysUsage,
  },
  {
    name: 'keys retire',
    describe: 'bring what a key wraps under another key',
    load: async () => (await import('./keys-retire.ts')).keysRetire,
  },
  {
    name: 'keys delete',
    describe: 'schedule the deletion of an unused key, or cancel it',
    load: async () => (await import('./keys-delete.ts')).keysDelete,
  },
  {
    name: 'policy instance',
    describe: 'print the least IAM policy of who mounts a bundle',
    load: async () => (await import('./policy-role.ts')).policyInstance,
  },
  {
    name: 'policy author',
    describe: 'print the least IAM policy of who packs a bundle',
    load: async () => (await import('./policy-role.ts')).policyAuthor,
  },
  {
    name: 'completion',
    describe: 'print the script that completes commands in a shell',
    load: async () => (await import('./completion.ts')).completion,
  },
  { name: 'version', describe: 'show the version', load: async () => (await import('./version.ts')).version },
];

/** What the first words of `argv` name: a command, or all commands of a group where only that is named; else neither. */
export function findCommand(
  argv: readonly string[],
  commands: readonly KnownCommand[] = COMMANDS,
): { readonly known?: KnownCommand; readonly group?: readonly KnownCommand[] } {
  const [first = '', second = ''] = argv;
  const known =
    commands.find(({ name }) => name === `${first} ${second}`) ?? commands.find(({ name }) => name === first);
  if (known !== undefined) return { known };
  const group = commands.filter(({ name }) => name.startsWith(`${first} `));
  return group.length > 0 ? { group } : {};
}
