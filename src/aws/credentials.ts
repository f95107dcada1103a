/**
 * Where credentials come from: the SDK's standard chain (environment, shared files, SSO, web identity, process,
 * container, instance), and a role assumed on top of it. One provider serves every client of the process, so that
 * the instance metadata service is asked once.
 */
import {
  fromEnv,
  fromIni,
  fromNodeProviderChain,
  fromTemporaryCredentials,
} from '@aws-sdk/credential-providers';
import type { AwsCredentialIdentity, AwsCredentialIdentityProvider } from '@smithy/types';
import { ConfigError, quote } from '../errors.ts';
import { credentialsError, unreadableFiles } from './errors.ts';
import { type ProxyingHandler, QuietLogger } from './http.ts';
import type { Profile } from './profile.ts';

export interface CredentialOptions {
  readonly env: NodeJS.ProcessEnv;
  /** True where a person named the profile (--profile), which then goes before the environment's credentials. */
  readonly profileNamed: boolean;
  readonly profile: Profile;
  readonly region: string | undefined;
  readonly roleArn: string | undefined;
  readonly externalId: string | undefined;
  readonly handler: ProxyingHandler;
}

/** Credentials are fetched anew this long before they expire. */
const REFRESH_BEFORE_MS = 5 * 60 * 1000;
/** Keys that never expire are looked up again after this: a person may have replaced them in the file. */
const STATIC_FOR_MS = 15 * 60 * 1000;

type Fetch = () => Promise<AwsCredentialIdentity>;

/** Fetches once for all who ask at the same time, and again shortly before expiry. A failure is not remembered. */
export function remembering(fetch: Fetch, now: () => number = Date.now): Fetch {
  let current: Promise<AwsCredentialIdentity> | undefined;
  let refreshAtMs = 0;
  return () => {
    if (current !== undefined && now() < refreshAtMs) return current;
    refreshAtMs = Number.POSITIVE_INFINITY;
    const fetching = fetch().then((credentials) => {
      const expiration = credentials.expiration ?? new Date(now() + STATIC_FOR_MS);
      refreshAtMs = expiration.getTime() - REFRESH_BEFORE_MS;
      return { ...credentials, expiration };
    });
    current = fetching;
    fetching.catch(() => {
      current = undefined;
    });
    return fetching;
  };
}

/** A provider whose failures are ConfigErrors. Nothing is fetched before it is called. */
export async function credentialProvider(options: CredentialOptions): Promise<AwsCredentialIdentityProvider> {
  const { env, profile, profileNamed, region, handler, roleArn, externalId } = options;
  const logger = new QuietLogger();

  // As for the aws command: keys in the environment go before AWS_PROFILE, --profile before both.
  const keysInEnv = Boolean(env['AWS_ACCESS_KEY_ID'] && env['AWS_SECRET_ACCESS_KEY']);
  const profileGiven = profileNamed || Boolean(env['AWS_PROFILE'] || env['AWS_DEFAULT_PROFILE']);
  const useEnv = keysInEnv && !profileNamed;
  const found = {
    ...(profileGiven ? { profile: profile.name } : {}),
    logger,
    ignoreCache: true,
    // No region here: it would replace sso_region.
    clientConfig: { requestHandler: handler, logger },
    ...(region === undefined ? {} : { parentClientConfig: { region } }),
  };
  // Made anew for each fetch: an old one remembers the shared files as they were. Where the profile names a source, no
  // other is tried when that fails: the chain would go on to the instance, which is somebody else.
  const provider = (): AwsCredentialIdentityProvider => {
    if (useEnv) return fromEnv({ logger });
    return profile.namesCredentials ? fromIni(found) : fromNodeProviderChain(found);
  };
  const ambient: Fetch = async () => {
    const named = profileGiven ? profile.name : undefined;
    if (!useEnv && named !== undefined && !profile.namesCredentials) {
      // The chain would go on to the instance, which is somebody else.
      if (profile.unreadable !== undefined) throw unreadableFiles(profile.unreadable, named);
      if (!profile.exists) {
        throw new ConfigError(
          'credentials-missing',
          `cannot get AWS credentials: no profile ${quote(named)} in ${profile.files}`,
          { hint: 'aws configure list-profiles shows those that there are' },
        );
      }
    }
    try {
      return await provider()();
    } catch (error) {
      throw credentialsError(error, { profile: named, unreadable: profile.unreadable });
    }
  };
  if (roleArn === undefined) return remembering(ambient);

  const assume = fromTemporaryCredentials({
    masterCredentials: ambient,
    params: {
      RoleArn: roleArn,
      RoleSessionName: 'secretsfs',
      ...(externalId === undefined ? {} : { ExternalId: externalId }),
    },
    clientConfig: { requestHandler: handler, logger, ...(region === undefined ? {} : { region }) },
    logger,
  });
  return remembering(async () => {
    try {
      return await assume();
    } catch (error) {
      throw credentialsError(error, { roleArn });
    }
  });
}
