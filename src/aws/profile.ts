/**
 * What the shared config files (~/.aws/config, ~/.aws/credentials, or where AWS_CONFIG_FILE and
 * AWS_SHARED_CREDENTIALS_FILE point) say of one profile, for the settings that the SDK does not read by itself.
 */
import { loadSharedConfigFiles } from '@smithy/core/config';

export interface Profile {
  readonly name: string;
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
export async function readProfile(name: string): Promise<Profile> {
  const { configFile, credentialsFile } = await loadSharedConfigFiles({ ignoreCache: true });
  const sections = [configFile[name], credentialsFile[name]].filter((s) => s !== undefined);
  const setting = (key: string): string | undefined => sections.map((s) => s[key]).find(Boolean);
  return {
    name,
    exists: sections.length > 0,
    namesCredentials: CREDENTIAL_SETTINGS.some((key) => setting(key) !== undefined),
    region: setting('region'),
    caBundle: setting('ca_bundle'),
    endpointUrl: setting('endpoint_url'),
  };
}
