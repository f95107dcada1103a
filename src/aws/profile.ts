/**
 * What the shared config files (~/.aws/config, ~/.aws/credentials, or where AWS_CONFIG_FILE and
 * AWS_SHARED_CREDENTIALS_FILE point) say of one profile, for the settings that the SDK does not read by itself.
 */
import { access, constants } from 'node:fs/promises';
import { homedir, userInfo } from 'node:os';
import path from 'node:path';
import { loadSharedConfigFiles } from '@smithy/core/config';
import { quote } from '../errors.ts';

export interface Profile {
  readonly name: string;
  /** The files that were looked at, quoted, in words. */
  readonly files: string;
  /** Which of them are there and which user may not read them, in words: the SDK takes them for empty. */
  readonly unreadable: string | undefined;
  /** Whether a file has a section of that name. */
  readonly exists: boolean;
  /** Whether it says where credentials come from; without that the environment and the instance are asked. */
  readonly namesCredentials: boolean;
  readonly region: string | undefined;
  readonly caBundle: string | undefined;
  readonly endpointUrl: string | undefined;
}

const CREDENTIAL_SETTINGS = [
  'aws_access_key_id',
  'role_arn',
  'credential_process',
  'sso_session',
  'sso_start_url',
  'web_identity_token_file',
  'login_session',
];

/** The name that counts: --profile, AWS_PROFILE, AWS_DEFAULT_PROFILE (which only the aws command knows), "default". */
export function profileName(env: NodeJS.ProcessEnv, option: string | undefined): string {
  return option || env['AWS_PROFILE'] || env['AWS_DEFAULT_PROFILE'] || 'default';
}

/** Reads the files anew; a missing file is an empty one, as for the aws command. */
export async function readProfile(env: NodeJS.ProcessEnv, name: string): Promise<Profile> {
  const files = [sharedFile(env, 'AWS_CONFIG_FILE', 'config')];
  files.push(sharedFile(env, 'AWS_SHARED_CREDENTIALS_FILE', 'credentials'));
  const { configFile, credentialsFile } = await loadSharedConfigFiles({ ignoreCache: true });
  const sections = [configFile[name], credentialsFile[name]].filter((s) => s !== undefined);
  const setting = (key: string): string | undefined => sections.map((s) => s[key]).find(Boolean);
  return {
    name,
    files: inWords(files),
    unreadable: await findUnreadable(files),
    exists: sections.length > 0,
    namesCredentials: CREDENTIAL_SETTINGS.some((key) => setting(key) !== undefined),
    region: setting('region'),
    caBundle: setting('ca_bundle'),
    endpointUrl: setting('endpoint_url'),
  };
}

/** As the SDK finds it. */
function sharedFile(env: NodeJS.ProcessEnv, variable: string, name: string): string {
  const home = env['HOME'] || homedir();
  const named = env[variable];
  if (!named) return path.join(home, '.aws', name);
  return named.startsWith('~/') ? path.join(home, named.slice(2)) : named;
}

async function findUnreadable(files: readonly string[]): Promise<string | undefined> {
  const codes = await Promise.all(
    files.map((file) =>
      access(file, constants.R_OK).then(
        () => undefined,
        (error: NodeJS.ErrnoException) => error.code ?? 'failure',
      ),
    ),
  );
  const unreadable = files.filter((_, i) => ![undefined, 'ENOENT', 'ENOTDIR'].includes(codes[i]));
  return unreadable.length === 0 ? undefined : `${currentUser()} may not read ${inWords(unreadable)}`;
}

function inWords(files: readonly string[]): string {
  return files.map(quote).join(' and ');
}

function currentUser(): string {
  const uid = process.geteuid?.() ?? -1;
  try {
    return `user ${userInfo().username} (${uid})`;
  } catch {
    // Users of the kernel driver's processes may have a number only.
    return `user ${uid}`;
  }
}
