/**
 * What the AWS SDK throws, as what a person can act on: what every service has in common. s3-errors.ts and kms-errors.ts
 * know the names of theirs, and nobody else does. Service messages are not repeated, because they may quote the request;
 * names, status codes, keys and locations are.
 */
import { ConfigError, quote, SecretsfsError } from '../errors.ts';

interface SdkError {
  readonly name?: unknown;
  readonly Code?: unknown;
  readonly code?: unknown;
  readonly message?: unknown;
  readonly cause?: unknown;
  readonly errors?: unknown;
  readonly $metadata?: { readonly httpStatusCode?: number | undefined };
  readonly $response?: { readonly statusCode?: number | undefined };
}

const shape = (error: unknown): SdkError => (typeof error === 'object' && error !== null ? error : {});

export function nameOf(error: unknown): string {
  const { name, Code } = shape(error);
  return typeof Code === 'string' && (name === undefined || name === 'Error') ? Code : String(name ?? '');
}

export function statusOf(error: unknown): number | undefined {
  const { $metadata, $response } = shape(error);
  return $metadata?.httpStatusCode ?? $response?.statusCode;
}

/** "AccessDenied, status 403": what may be shown of an answer. */
export function answer(error: unknown): string {
  const name = nameOf(error);
  const shown = /^[A-Za-z][A-Za-z0-9.]{0,60}$/.test(name) && name !== 'Error' ? name : 'an error';
  const status = statusOf(error);
  return status === undefined ? shown : `${shown}, status ${status}`;
}

const EXPIRED = new Set([
  'ExpiredToken',
  'ExpiredTokenException',
  'TokenRefreshRequired',
  'RequestExpired',
  'UnauthorizedSSOTokenError',
]);
const INVALID = new Set([
  'UnrecognizedClientException',
  'InvalidClientTokenId',
  'InvalidAccessKeyId',
  'InvalidToken',
  'InvalidSignatureException',
  'SignatureDoesNotMatch',
  'IncompleteSignature',
  'IncompleteSignatureException',
  'MissingAuthenticationToken',
  'MissingAuthenticationTokenException',
  'AuthFailure',
  'OptInRequired',
  'NotSignedUp',
]);
/** The signature was made at another time than the service's. */
const SKEWED = new Set(['RequestTimeTooSkewed', 'RequestInTheFuture']);

/** Too many requests, by whichever name a service gives it. */
export const THROTTLED: ReadonlySet<string> = new Set([
  'Throttling',
  'ThrottlingException',
  'ThrottledException',
  'TooManyRequestsException',
  'RequestLimitExceeded',
  'RequestThrottled',
  'LimitExceededException',
]);

const TRY_AGAIN = 'it may pass: try again, and look at the network of this machine';
const NETWORK: Readonly<Record<string, Omit<Trouble, 'what'> & { readonly what?: string }>> = {
  ENOTFOUND: {
    what: 'its host name is not known',
    hint: 'check the region, the endpoint (AWS_ENDPOINT_URL) and the name servers',
  },
  EAI_AGAIN: { what: 'no name server answers', hint: 'check the name servers' },
  ECONNREFUSED: {
    what: 'the connection was refused',
    hint: 'check the endpoint (AWS_ENDPOINT_URL) and the proxy (HTTPS_PROXY)',
  },
  ECONNRESET: { what: 'the connection was reset', hint: TRY_AGAIN },
  ETIMEDOUT: { what: 'no answer in time', hint: TRY_AGAIN },
  EHOSTUNREACH: { what: 'there is no route to it', hint: TRY_AGAIN },
  ENETUNREACH: { what: 'there is no route to it', hint: TRY_AGAIN },
  ECONNABORTED: { hint: TRY_AGAIN },
  EPIPE: { hint: TRY_AGAIN },
  EHOSTDOWN: { hint: TRY_AGAIN },
  ENETDOWN: { hint: TRY_AGAIN },
  EPROTO: { hint: TRY_AGAIN },
  ERR_STREAM_PREMATURE_CLOSE: { hint: TRY_AGAIN },
};
const TRANSIENT = new Set([
  'SlowDown',
  'ServiceUnavailable',
  'ServiceUnavailableException',
  'InternalError',
  'InternalFailure',
  'RequestTimeout',
  'RequestTimeoutException',
  ...THROTTLED,
  'KMSInternalException',
  'DependencyTimeoutException',
  'KeyUnavailableException',
]);

interface Trouble {
  /** What happened, in a few words. */
  readonly what: string;
  readonly hint: string;
}

/** Trouble on the way to the service, or in it, that may pass by itself. */
export function networkTrouble(error: unknown): Trouble | undefined {
  for (let e: SdkError | undefined = shape(error), depth = 0; e !== undefined && depth < 5; depth++) {
    const code = typeof e.code === 'string' ? e.code : '';
    const known = Object.hasOwn(NETWORK, code) ? NETWORK[code] : undefined;
    if (known !== undefined) {
      return { what: known.what === undefined ? code : `${known.what} (${code})`, hint: known.hint };
    }
    if (/^(UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|CERT_|ERR_TLS_|ERR_SSL_)/.test(code)) {
      return {
        what: `its TLS certificate is not trusted (${code})`,
        hint: 'name the file with its CA certificates in AWS_CA_BUNDLE',
      };
    }
    if (e.name === 'TimeoutError' || e.name === 'AbortError')
      return { what: 'no answer in time', hint: TRY_AGAIN };
    const message = typeof e.message === 'string' ? e.message : '';
    // hpagent's words for a CONNECT that was refused.
    const refused = /^Bad response: (\d{3})$/.exec(message)?.[1];
    if (refused !== undefined) {
      return {
        what: `the proxy answered ${refused}`,
        hint:
          refused === '407'
            ? 'the proxy wants a user and password: https_proxy=http://USER:PASSWORD@HOST:PORT'
            : 'check HTTPS_PROXY and what the proxy allows, or name the host in NO_PROXY',
      };
    }
    if (message === 'Proxy timeout') {
      return {
        what: 'the proxy did not answer in time',
        hint: 'check HTTPS_PROXY, or name the host in NO_PROXY',
      };
    }
    if (message === 'socket hang up' || message === 'aborted') {
      return { what: message, hint: TRY_AGAIN };
    }
    const inner: unknown = e.cause ?? (Array.isArray(e.errors) ? e.errors[0] : undefined);
    e = inner === undefined ? undefined : shape(inner);
  }
  const status = statusOf(error);
  if (TRANSIENT.has(nameOf(error)) || (status !== undefined && (status >= 500 || status === 429))) {
    return { what: answer(error), hint: TRY_AGAIN };
  }
  return undefined;
}

/** KMS, SQS and STS say a wrong clock as a signature that expired, or is not yet valid, and name it in the text alone. */
function isExpiredSignature(error: unknown): boolean {
  const message = String(shape(error).message ?? '');
  return (
    /^(InvalidSignature|SignatureDoesNotMatch)/.test(nameOf(error)) &&
    /Signature (expired|not yet current)/.test(message)
  );
}

/** Where a service refused the credentials themselves. */
function credentialsRefused(error: unknown): ConfigError | undefined {
  const name = nameOf(error);
  if (EXPIRED.has(name)) {
    return new ConfigError(
      'credentials-expired',
      `cannot use the AWS credentials: they have expired (${name})`,
      {
        hint: 'sign in again (aws sso login), or renew what AWS_SESSION_TOKEN holds',
        cause: error,
      },
    );
  }
  if (SKEWED.has(name) || isExpiredSignature(error)) {
    return new ConfigError('clock-skewed', "cannot speak to AWS: this machine's clock is wrong", {
      hint: 'set the clock: timedatectl set-ntp true',
      cause: error,
    });
  }
  if (INVALID.has(name)) {
    return new ConfigError(
      'credentials-invalid',
      `cannot use the AWS credentials: AWS answered ${answer(error)}`,
      {
        hint: 'aws sts get-caller-identity shows whether the credentials are good',
        cause: error,
      },
    );
  }
  return undefined;
}

/** For whatever a credential provider throws. Always an error of ours. */
export function credentialsError(
  error: unknown,
  where: {
    readonly profile?: string | undefined;
    readonly roleArn?: string | undefined;
    /** Of a Profile: why its files gave none. */
    readonly unreadable?: string | undefined;
  },
): SecretsfsError {
  if (error instanceof SecretsfsError) return error;
  const what =
    where.roleArn === undefined
      ? credentialsOf(where.profile)
      : `cannot assume the role ${quote(where.roleArn)}`;
  const name = nameOf(error);
  const message = String(shape(error).message ?? '');
  // Neither cause nor text: a credential_process's output may be in it.
  if (EXPIRED.has(name) || (/ProviderError$/.test(name) && /expired|sso login|aws login/i.test(message))) {
    const profile = where.profile === undefined ? '' : ` --profile ${where.profile}`;
    return new ConfigError('credentials-expired', `${what}: the session has expired`, {
      hint: `sign in again: aws sso login${profile}`,
    });
  }
  if (/AccessDenied/.test(name)) {
    return new ConfigError('credentials-invalid', `${what}: AWS answered ${answer(error)}`, {
      hint: 'allow sts:AssumeRole here, and this caller (with its external id) in the trust policy of the role',
    });
  }
  const trouble = networkTrouble(error);
  if (trouble !== undefined) {
    return new ConfigError('credentials-missing', `${what}: ${trouble.what}`, { hint: trouble.hint });
  }
  if (statusOf(error) !== undefined) {
    return new ConfigError('credentials-invalid', `${what}: AWS answered ${answer(error)}`, {
      hint: 'aws sts get-caller-identity shows whether the credentials are good',
    });
  }
  if (
    /Could not (load|resolve|find)|Unable to find|disabled|Could not be found/i.test(message) ||
    name === ''
  ) {
    if (where.unreadable !== undefined) return unreadableFiles(where.unreadable, where.profile);
    return new ConfigError('credentials-missing', `${what}: none were found`, {
      hint: 'give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, --profile, or the instance a role; aws sts get-caller-identity checks them',
    });
  }
  return new ConfigError('credentials-invalid', `${what}: their source failed (${answer(error)})`, {
    hint: 'aws sts get-caller-identity says more',
  });
}

function credentialsOf(profile: string | undefined): string {
  return `cannot get AWS credentials${profile === undefined ? '' : ` of profile ${quote(profile)}`}`;
}

/** `unreadable`: which user may not read which file. With the kernel driver it is seldom the user who wrote it. */
export function unreadableFiles(unreadable: string, profile: string | undefined): ConfigError {
  return new ConfigError('credentials-missing', `${credentialsOf(profile)}: ${unreadable}`, {
    hint: 'a mount by root asks AWS as users of its own: give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the instance a role, or files that all of them may read in AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE',
  });
}

/** What is wrong with the set-up rather than with the object or the key; undefined where it is neither. */
export function setupError(error: unknown): ConfigError | undefined {
  const refused = credentialsRefused(error);
  if (refused !== undefined) return refused;
  if (nameOf(error) === 'CredentialsProviderError') return credentialsError(error, {}) as ConfigError;
  if (statusOf(error) !== undefined) return undefined;
  const message = String(shape(error).message ?? '');
  if (message === 'Region is missing') return regionMissing();
  if (
    /^Invalid (Configuration|region|ARN|access point)|^EndpointError/i.test(message) ||
    nameOf(error) === 'EndpointError'
  ) {
    return new ConfigError('config-invalid', `cannot find the endpoint of AWS: ${quote(message)}`, {
      hint: 'check AWS_ENDPOINT_URL, AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT',
      cause: error,
    });
  }
  return undefined;
}

export function regionMissing(): ConfigError {
  return new ConfigError('region-missing', 'cannot tell which AWS region to use', {
    hint: 'give --region, AWS_REGION, or a key as an ARN',
  });
}
