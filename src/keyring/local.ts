/**
 * The embedded wrapping key: a file of exactly 32 random bytes (docs/format.md). Wrapping is the AWS Encryption
 * SDK's raw AES keyring, so that any other AWS Encryption SDK opens the bundle with the same file.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { constants, fstatSync, readSync } from 'node:fs';
import { access, lstat, open, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { KeyringNode } from '@aws-crypto/material-management-node';
import { RawAesKeyringNode, RawAesWrappingSuiteIdentifier } from '@aws-crypto/raw-aes-keyring-node';
import { LOCAL_KEY_NAME_LENGTH, LOCAL_PROVIDER_ID } from '../bundle/data-keys.ts';
import type { AcceptedKey } from '../bundle/header.ts';
import { errnoWords, KeyError, OutputError, quote } from '../errors.ts';

const KEY_BYTES = 32;
const KEY_MODE = 0o400;

export interface LocalKeyring {
  readonly keyring: KeyringNode;
  readonly accepted: AcceptedKey;
  readonly keyName: string;
}

/**
 * What a key is called in a bundle: derived from the key, so that a file that was moved or copied is still the same
 * key, and short, because a bundle shows it to everybody.
 */
export function localKeyName(key: Uint8Array): string {
  const digest = createHmac('sha256', key).update('secretsfs local key name').digest('hex');
  return digest.slice(0, LOCAL_KEY_NAME_LENGTH);
}

/** A keyring over `key`, which may be wiped as soon as this returns. `path` is for messages only. */
export function localKeyring(key: Uint8Array, path?: string): LocalKeyring {
  if (key.length !== KEY_BYTES) throw invalidLength(path ?? 'key', key.length);
  const keyName = localKeyName(key);
  // The library wants a view with no slack around it; it makes a KeyObject of it, which can't be wiped.
  const unencryptedMasterKey = new Uint8Array(key);
  try {
    const keyring = new RawAesKeyringNode({
      keyNamespace: LOCAL_PROVIDER_ID,
      keyName,
      unencryptedMasterKey,
      wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
      // As every AWS Encryption SDK in another language sorts a context.
      utf8Sorting: true,
    });
    const accepted: AcceptedKey = {
      description: path === undefined ? `local key ${keyName}` : `local:${path} (${keyName})`,
      accepts: (other) => other.providerId === LOCAL_PROVIDER_ID && other.keyName === keyName,
    };
    return { keyring, accepted, keyName };
  } finally {
    unencryptedMasterKey.fill(0);
  }
}

/**
 * Makes a key file and returns the key's name. It has its mode from its first moment on, and is either complete on
 * disk or not there. Throws OutputError: output-exists, output-denied, output-failed.
 */
export async function generateKeyFile(path: string): Promise<string> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const file = await open(path, flags, KEY_MODE).catch((error: unknown) => {
    throw cannotWrite(path, error);
  });
  const key = randomBytes(KEY_BYTES);
  try {
    // A umask takes bits away.
    await file.chmod(KEY_MODE);
    const { bytesWritten } = await file.write(key);
    if (bytesWritten !== KEY_BYTES) throw new Error(`${bytesWritten} bytes were written`);
    await file.sync();
    return localKeyName(key);
  } catch (error) {
    await unlink(path).catch(() => undefined);
    throw cannotWrite(path, error);
  } finally {
    key.fill(0);
    await file.close();
  }
}

/** Throws what generateKeyFile() would, and makes nothing. */
export async function checkKeyFile(file: string): Promise<void> {
  try {
    // As open(2) with O_CREAT says.
    if (file.endsWith('/')) throw Object.assign(new Error('a directory'), { code: 'EISDIR' });
    const there = await lstat(file).catch(() => undefined);
    if (there !== undefined) throw Object.assign(new Error('it is there'), { code: 'EEXIST' });
    await access(`${dirname(file)}/.`, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw cannotWrite(file, error);
  }
}

function cannotWrite(path: string, cause: unknown): OutputError {
  const code = errnoOf(cause);
  if (code === 'EEXIST' || code === 'ELOOP') {
    return new OutputError('output-exists', `cannot make key file ${quote(path)}: it exists already`, {
      hint: 'choose another path: what was sealed under an overwritten key could never be opened again',
      cause,
    });
  }
  const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
  const why = code === 'ENOENT' ? 'its directory does not exist' : errnoWords(cause);
  return new OutputError(
    denied ? 'output-denied' : 'output-failed',
    `cannot make key file ${quote(path)}: ${why}`,
    {
      hint: denied
        ? 'run as a user who may write there, or choose another path'
        : 'choose a path in a directory that exists, on a disk with room',
      cause,
    },
  );
}

/**
 * Reads a key file. The Buffer is the caller's to wipe. Throws KeyError: key-not-found, key-invalid, and
 * key-permissions when anybody but its owner, who must be root or this user, could read or change it.
 */
export async function readKeyFile(path: string): Promise<Buffer> {
  // O_NONBLOCK: a fifo at that path must not hang us.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
  const file = await open(path, flags).catch((error: unknown) => {
    throw cannotRead(path, error);
  });
  try {
    return readOpenKeyFile(file.fd, path, process.geteuid?.());
  } catch (error) {
    throw error instanceof KeyError ? error : cannotRead(path, error);
  } finally {
    await file.close();
  }
}

/**
 * The same of a key file that somebody else opened, the user `ownerUid`, who may own it as root may. The descriptor stays
 * the caller's.
 */
export function readOpenedKey(file: number | string, path: string, ownerUid: number): Buffer {
  if (typeof file === 'string') throw cannotRead(path, Object.assign(new Error(file), { code: file }));
  try {
    return readOpenKeyFile(file, path, ownerUid);
  } catch (error) {
    throw error instanceof KeyError ? error : cannotRead(path, error);
  }
}

/** What is checked is what was opened: a path could be another file by now. */
function readOpenKeyFile(fd: number, path: string, uid: number | undefined): Buffer {
  const stat = fstatSync(fd);
  if (!stat.isFile()) {
    throw new KeyError('key-invalid', `cannot use key ${quote(path)}: it is not a regular file`, {
      hint: `make a key file with: secretsfs keygen PATH`,
    });
  }
  const permissions = (why: string, hint: string) =>
    new KeyError('key-permissions', `cannot use key file ${quote(path)}: ${why}`, { hint });
  if (stat.uid !== 0 && stat.uid !== uid) {
    throw permissions(
      `its owner is user ${stat.uid}, want ${uid === 0 ? '' : `${uid} or `}root`,
      `chown root ${path}`,
    );
  }
  const mode = stat.mode & 0o7777;
  if (mode !== KEY_MODE) {
    const octal = (bits: number) => bits.toString(8).padStart(4, '0');
    throw permissions(`its mode is ${octal(mode)}, want ${octal(KEY_MODE)}`, `chmod 0400 ${path}`);
  }
  if (stat.size !== KEY_BYTES) throw invalidLength(path, stat.size);
  const key = Buffer.alloc(KEY_BYTES);
  const bytesRead = readSync(fd, key, 0, KEY_BYTES, 0);
  if (bytesRead === KEY_BYTES) return key;
  key.fill(0);
  throw invalidLength(path, bytesRead);
}

function invalidLength(path: string, length: number): KeyError {
  return new KeyError(
    'key-invalid',
    `cannot use key file ${quote(path)}: it is ${length} bytes, want ${KEY_BYTES}`,
    {
      hint: 'make a key file with: secretsfs keygen PATH',
    },
  );
}

function cannotRead(path: string, cause: unknown): KeyError {
  const code = errnoOf(cause);
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new KeyError('key-not-found', `cannot read key file ${quote(path)}: it does not exist`, {
      hint: 'check the path, or make a key file with: secretsfs keygen PATH',
      cause,
    });
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new KeyError('key-permissions', `cannot read key file ${quote(path)}: permission denied`, {
      hint: 'run as its owner or as root',
      cause,
    });
  }
  if (code === 'ETIMEDOUT') {
    return new KeyError('key-unreachable', `cannot read key file ${quote(path)}: ${errnoWords(cause)}`, {
      hint: 'look at the disk, or the server of a network file system; or keep the key on a disk of this machine',
      cause,
    });
  }
  return new KeyError('key-invalid', `cannot read key file ${quote(path)}: ${errnoWords(cause)}`, {
    hint: 'make a key file with: secretsfs keygen PATH',
    cause,
  });
}

function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
