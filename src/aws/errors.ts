/**
 * What the AWS SDK throws, as what a person can act on: the only place that knows its error names. Service messages
 * are not repeated, because they may quote the request; names, status codes, keys and locations are.
 */
import { ConfigError, KeyError, OutputError, quote, SecretsfsError, SourceError } from '../errors.ts';

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

function nameOf(error: unknown): string {
  const { name, Code } = shape(error);
  return typeof Code === 'string' && (name === undefined || name === 'Error') ? Code : String(name ?? '');
}

export function statusOf(error: unknown): number | undefined {
  const { $metadata, $response } = shape(error);
  return $metadata?.httpStatusCode ?? $response?.statusCode;
}

/** "AccessDenied, status 403": what may be shown of an answer. */
function answer(error: unknown): string {
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
  'RequestTimeTooSkewed',
]);

const NETWORK_HINTS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'check the region, the endpoint (AWS_ENDPOINT_URL) and the name servers',
  EAI_AGAIN: 'check the name servers',
  ECONNREFUSED: 'check the endpoint (AWS_ENDPOINT_URL) and the proxy (HTTPS_PROXY)',
};
const NETWORK = new Set([
  ...Object.keys(NETWORK_HINTS),
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'EPROTO',
  'ERR_STREAM_PREMATURE_CLOSE',
]);
const TRANSIENT = new Set([
  'SlowDown',
  'ServiceUnavailable',
  'ServiceUnavailableException',
  'InternalError',
  'InternalFailure',
  'RequestTimeout',
  'RequestTimeoutException',
  'Throttling',
  'ThrottlingException',
  'ThrottledException',
  'TooManyRequestsException',
  'RequestLimitExceeded',
  'RequestThrottled',
  'LimitExceededException',
  'KMSInternalException',
  'DependencyTimeoutException',
  'KeyUnavailableException',
]);

interface Trouble {
  /** What happened, in a few words. */
  readonly what: string;
  readonly hint?: string | undefined;
}

/** Trouble on the way to the service, or in it, that may pass by itself. */
function networkTrouble(error: unknown): Trouble | undefined {
  for (let e: SdkError | undefined = shape(error), depth = 0; e !== undefined && depth < 5; depth++) {
    const code = typeof e.code === 'string' ? e.code : '';
    if (NETWORK.has(code)) return { what: code, hint: NETWORK_HINTS[code] };
    if (/^(UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|CERT_|ERR_TLS_|ERR_SSL_)/.test(code)) {
      return {
        what: `its TLS certificate is not trusted (${code})`,
        hint: 'name the file with its CA certificates in AWS_CA_BUNDLE',
      };
    }
    if (e.name === 'TimeoutError' || e.name === 'AbortError') return { what: 'no answer in time' };
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
      return { what: message };
    }
    const inner: unknown = e.cause ?? (Array.isArray(e.errors) ? e.errors[0] : undefined);
    e = inner === undefined ? undefined : shape(inner);
  }
  const status = statusOf(error);
  if (TRANSIENT.has(nameOf(error)) || (status !== undefined && (status >= 500 || status === 429))) {
    return { what: answer(error) };
  }
  return undefined;
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
  if (name === 'RequestTimeTooSkewed') {
    return new ConfigError(
      'credentials-invalid',
      "cannot use the AWS credentials: this machine's clock is wrong",
      {
        hint: 'set the clock: timedatectl set-ntp true',
        cause: error,
      },
    );
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
  where: { readonly profile?: string | undefined; readonly roleArn?: string | undefined },
): SecretsfsError {
  if (error instanceof SecretsfsError) return error;
  const what =
    where.roleArn !== undefined
      ? `cannot assume the role ${quote(where.roleArn)}`
      : `cannot get AWS credentials${where.profile === undefined ? '' : ` of profile ${quote(where.profile)}`}`;
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
    return new ConfigError('credentials-missing', `${what}: none were found`, {
      hint: 'give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, --profile, or the instance a role; aws sts get-caller-identity checks them',
    });
  }
  return new ConfigError('credentials-invalid', `${what}: their source failed (${answer(error)})`, {
    hint: 'aws sts get-caller-identity says more',
  });
}

/** What is wrong with the set-up rather than with the object or the key; undefined where it is neither. */
function setupError(error: unknown): ConfigError | undefined {
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

export interface S3Target {
  readonly bucket: string;
  readonly key: string;
  /** As a person wrote it. */
  readonly location: string;
  readonly versionId?: string | undefined;
  /** From --region or the environment: decides the partition in hints. */
  readonly partition?: string | undefined;
}

const MISSING = new Set(['NoSuchKey', 'NotFound', 'NoSuchBucket', 'NoSuchVersion', 'MethodNotAllowed']);

/** What to throw for an error of reading an object. An error that is not AWS's is returned as it is. */
export function s3ReadError(error: unknown, target: S3Target): unknown {
  if (error instanceof SecretsfsError) return error;
  const what = `cannot fetch ${quote(target.location)}`;
  const details = { cause: error };
  const setup = setupError(error);
  if (setup !== undefined) return setup;
  const name = nameOf(error);
  const status = statusOf(error);
  const arn = `arn:${target.partition ?? 'aws'}:s3:::${target.bucket}`;
  const trouble = networkTrouble(error);
  if (trouble !== undefined) {
    return new SourceError('source-unreachable', `${what}: ${trouble.what}`, {
      ...details,
      hint: trouble.hint,
    });
  }
  if (name === 'NoSuchBucket') {
    return new SourceError('source-not-found', `${what}: there is no bucket ${quote(target.bucket)}`, {
      ...details,
      hint: 'check its name and the endpoint',
    });
  }
  if (MISSING.has(name) || status === 404) {
    const version = target.versionId === undefined ? '' : `with version ${quote(target.versionId)} `;
    return new SourceError('source-not-found', `${what}: there is no such object ${version}`.trimEnd(), {
      ...details,
      hint: `aws s3 ls s3://${target.bucket}/ shows those that there are`,
    });
  }
  if (status === 403) {
    const action = target.versionId === undefined ? 's3:GetObject' : 's3:GetObjectVersion';
    return new SourceError('source-denied', `${what}: S3 answered ${answer(error)}`, {
      ...details,
      hint: `grant ${action} on "${arn}/${target.key}"; without s3:ListBucket on "${arn}" S3 answers the same for an object that is missing`,
    });
  }
  if (status === 301 || status === 307 || name === 'AuthorizationHeaderMalformed') {
    return new SourceError('source-invalid', `${what}: the bucket is in another region (${answer(error)})`, {
      ...details,
      hint: 'give the region of the bucket with --region',
    });
  }
  if (status !== undefined) {
    return new SourceError('source-invalid', `${what}: S3 answered ${answer(error)}`, details);
  }
  return error;
}

/** The same for writing: what failed is the output, unless it is the set-up. */
export function s3WriteError(error: unknown, target: S3Target): unknown {
  if (error instanceof SecretsfsError) return error;
  const what = `cannot write ${quote(target.location)}`;
  const setup = setupError(error);
  if (setup !== undefined) return setup;
  const status = statusOf(error);
  if (status === 412 || status === 409) {
    return new OutputError('output-changed', `${what}: somebody else wrote it since we looked`, {
      hint: 'run the command again',
      cause: error,
    });
  }
  const trouble = networkTrouble(error);
  if (trouble !== undefined) {
    return new OutputError('output-failed', `${what}: ${trouble.what}`, { hint: trouble.hint, cause: error });
  }
  if (status === 403) {
    const arn = `arn:${target.partition ?? 'aws'}:s3:::${target.bucket}/${target.key}`;
    return new OutputError('output-denied', `${what}: S3 answered ${answer(error)}`, {
      hint: `grant s3:PutObject on "${arn}" (and kms:GenerateDataKey where the bucket encrypts with a KMS key)`,
      cause: error,
    });
  }
  if (nameOf(error) === 'NoSuchBucket') {
    return new OutputError('output-failed', `${what}: there is no bucket ${quote(target.bucket)}`, {
      hint: `aws s3 mb s3://${target.bucket} makes it`,
      cause: error,
    });
  }
  if (status !== undefined) {
    return new OutputError('output-failed', `${what}: S3 answered ${answer(error)}`, { cause: error });
  }
  return error;
}

export type KmsAction = 'Decrypt' | 'Encrypt' | 'GenerateDataKey';

const THROTTLED = new Set([
  'Throttling',
  'ThrottlingException',
  'ThrottledException',
  'TooManyRequestsException',
  'RequestLimitExceeded',
  'RequestThrottled',
  'LimitExceededException',
]);

const WANTED: Readonly<Record<KmsAction, string>> = {
  Decrypt: 'unwrap the data key with',
  Encrypt: 'wrap the data key with',
  GenerateDataKey: 'make a data key with',
};

/** What to throw for an error of a KMS call with `keyId`. An error that is not AWS's is returned as it is. */
export function kmsError(error: unknown, keyId: string, action: KmsAction): unknown {
  if (error instanceof SecretsfsError) return error;
  const what = `cannot ${WANTED[action]} ${quote(keyId)}`;
  const setup = setupError(error);
  if (setup !== undefined) return setup;
  const name = nameOf(error);
  const answered = `KMS answered ${answer(error)}`;
  const keyError = (code: KeyError['code'], why: string, hint?: string): KeyError =>
    new KeyError(code, `${what}: ${why}`, { hint, cause: error });

  if (THROTTLED.has(name) || statusOf(error) === 429) {
    return keyError(
      'key-throttled',
      answered,
      'the KMS requests of the whole account count; it is tried again',
    );
  }
  const trouble = networkTrouble(error);
  if (trouble !== undefined) return keyError('key-unreachable', trouble.what, trouble.hint);
  switch (name) {
    case 'AccessDeniedException':
    case 'AccessDenied':
      return keyError('key-denied', answered, `grant kms:${action} on "${keyId}"`);
    case 'NotFoundException':
      return keyError(
        'key-not-found',
        'there is no such key',
        'check the account, the region and the id of the key',
      );
    case 'DisabledException':
      return keyError('key-state', 'the key is disabled', `aws kms enable-key --key-id ${keyId}`);
    case 'KMSInvalidStateException':
    case 'KMSInvalidState':
      return keyError(
        'key-state',
        'the key cannot be used in its present state',
        `aws kms describe-key --key-id ${keyId} shows it; aws kms cancel-key-deletion takes back a deletion`,
      );
    case 'IncorrectKeyException':
    case 'InvalidCiphertextException':
      return keyError(
        'data-key-refused',
        answered,
        'the data key was wrapped with another key or another encryption context, or was altered: pack the bundle again',
      );
    case 'InvalidKeyUsageException':
      return keyError(
        'key-invalid',
        answered,
        'a key for symmetric encryption (SYMMETRIC_DEFAULT) is wanted',
      );
  }
  if (statusOf(error) === 403) return keyError('key-denied', answered, `grant kms:${action} on "${keyId}"`);
  if (statusOf(error) !== undefined) return keyError('key-invalid', answered);
  return error;
}
