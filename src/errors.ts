/**
 * The errors a person can meet. One subclass by who must act, one code by what happened.
 *
 * A message is one line, lower case, without a full stop: action, object, observed, wanted. A hint says what to
 * do next. Values are quoted with JSON.stringify. Neither ever holds plaintext, a key, or bytes of a bundle.
 * Codes and exit codes are an ABI (docs/cli-abi.md): they are appended to, never renamed or reused.
 */

/** What each class of error ends the process with. 1 is kept for bugs in secretsfs itself. */
export const EXIT_CODES = {
  ok: 0,
  bug: 1,
  usage: 2,
  config: 3,
  source: 4,
  key: 5,
  bundle: 6,
  mount: 7,
  control: 8,
  timeout: 9,
  output: 10,
  /** No error: what `doctor` was to find, it found. */
  findings: 11,
} as const;

export type ErrorClass = Exclude<keyof typeof EXIT_CODES, 'ok' | 'bug' | 'findings'>;

/** Every code with the class, and so the exit code, that it belongs to. */
const CODES = {
  usage: 'usage',

  'config-unreadable': 'config',
  'config-invalid': 'config',
  'region-missing': 'config',
  'credentials-missing': 'config',
  'credentials-expired': 'config',
  'credentials-invalid': 'config',
  'clock-skewed': 'config',
  'config-untrusted': 'config',

  'source-not-found': 'source',
  'source-denied': 'source',
  'source-unreachable': 'source',
  'source-invalid': 'source',
  'source-too-large': 'source',
  'source-throttled': 'source',
  'source-deleted': 'source',
  'source-changed': 'source',
  'queue-missing': 'source',
  'queue-denied': 'source',
  'queue-unreachable': 'source',

  'key-invalid': 'key',
  'key-not-found': 'key',
  'key-permissions': 'key',
  'key-denied': 'key',
  'key-state': 'key',
  'key-disabled': 'key',
  'key-pending-deletion': 'key',
  'key-throttled': 'key',
  'key-unreachable': 'key',
  'key-not-accepted': 'key',
  'data-key-refused': 'key',
  'key-exists': 'key',
  'key-policy': 'key',
  'key-limit': 'key',
  'key-in-use': 'key',
  'key-usage-unseen': 'key',

  'bundle-invalid': 'bundle',
  'bundle-truncated': 'bundle',
  'bundle-suite': 'bundle',
  'bundle-format': 'bundle',
  'bundle-too-many-keys': 'bundle',
  'bundle-too-large': 'bundle',
  'bundle-corrupt': 'bundle',
  'bundle-name': 'bundle',
  'bundle-context': 'bundle',
  'bundle-serial-low': 'bundle',
  'bundle-serial-reused': 'bundle',
  'bundle-serial-future': 'bundle',
  'archive-invalid': 'bundle',
  'archive-refused': 'bundle',
  'archive-too-large': 'bundle',
  'check-failed': 'bundle',
  'check-clock': 'bundle',
  'secret-path': 'bundle',

  'mountpoint-missing': 'mount',
  'mountpoint-invalid': 'mount',
  'mountpoint-busy': 'mount',
  'fuse-missing': 'mount',
  'driver-missing': 'mount',
  'mount-denied': 'mount',
  'mount-failed': 'mount',
  'memory-unlocked': 'mount',
  'memory-exceeded': 'mount',
  'memory-swappable': 'mount',
  'generation-refused': 'mount',
  'upgrade-refused': 'mount',
  'unsealer-failed': 'mount',
  'check-exec': 'mount',
  'composer-failed': 'mount',

  'control-not-running': 'control',
  'control-denied': 'control',
  'control-busy': 'control',
  'control-protocol': 'control',
  'control-directory': 'control',
  'control-unsupported': 'control',
  'hook-unknown': 'control',
  'hook-failed': 'control',
  'part-unknown': 'control',
  'part-missing': 'control',

  'wait-timeout': 'timeout',

  'output-exists': 'output',
  'output-changed': 'output',
  'output-denied': 'output',
  'output-failed': 'output',
  'bucket-public': 'output',
  'output-unverified': 'output',
  'shred-incomplete': 'output',
  'rotation-incomplete': 'output',
} as const satisfies Record<string, ErrorClass>;

export type ErrorCode = keyof typeof CODES;
type CodeOf<C extends ErrorClass> = {
  [K in ErrorCode]: (typeof CODES)[K] extends C ? K : never;
}[ErrorCode];

export interface ErrorDetails {
  /** One line: what the reader should do. */
  readonly hint?: string | undefined;
  /** The error underneath. It stays inside the process; its text must be safe to log all the same. */
  readonly cause?: unknown;
}

/** The base of every expected failure. Anything else that is thrown is a bug. */
export class SecretsfsError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  /** Of the bundle that was refused, set by who fetched it: the same bytes need not be tried again. */
  revision: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = details.hint;
  }

  get exitCode(): number {
    return EXIT_CODES[CODES[this.code]];
  }
}

/** The base of those whose codes are of one class. */
function errorOf<C extends ErrorClass>() {
  return class extends SecretsfsError {
    declare readonly code: CodeOf<C>;
    constructor(code: CodeOf<C>, message: string, details?: ErrorDetails) {
      super(code, message, details);
    }
  };
}

/** The command line is wrong: the person who typed it acts. */
export class UsageError extends SecretsfsError {
  constructor(message: string, details?: ErrorDetails) {
    super('usage', message, details);
  }
}

/** A config file, the environment or the AWS set-up is wrong: the operator of this machine acts. */
export class ConfigError extends errorOf<'config'>() {}

/** The bundle can't be had: whoever owns the bucket, the file or the network acts. */
export class SourceError extends errorOf<'source'>() {}

/** A wrapping key can't be used: whoever owns the key acts. */
export class KeyError extends errorOf<'key'>() {}

/** The bundle itself is refused: its author acts. */
export class BundleError extends errorOf<'bundle'>() {}

/** The mountpoint or the machine's FUSE is not usable: the operator of this machine acts. */
export class MountError extends errorOf<'mount'>() {}

/** A running mount can't be asked, or did not do what was asked, in time. */
export class ControlError extends errorOf<'control' | 'timeout'>() {}

/** What was to be written can't be, or would overwrite something. */
export class OutputError extends errorOf<'output'>() {}

/** True for a code that this version knows: what came over the control socket is checked with it. */
export function isErrorCode(text: unknown): text is ErrorCode {
  return typeof text === 'string' && Object.hasOwn(CODES, text);
}

/** Who has to act, also for an error that was made of a code alone. */
export function classOf(code: ErrorCode): ErrorClass {
  return CODES[code];
}

/**
 * What may be said of an error that is a bug: its class and the place in our code. Its message may hold anything,
 * what was being worked on included.
 */
export function describeBug(error: unknown): string {
  if (!(error instanceof Error)) return `${typeof error} thrown`;
  const place = /\n\s+at (.*)/.exec(error.stack ?? '')?.[1] ?? 'an unknown place';
  return `${error.name} at ${place}`;
}

const ERRNO_WORDS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ENOENT: 'no such file or directory',
  ENOTDIR: 'a part of its path is not a directory',
  EISDIR: 'it is a directory',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left',
  EDQUOT: 'the quota is used up',
  EMFILE: 'too many files are open',
  ELOOP: 'too many symlinks',
  ENAMETOOLONG: 'its name is too long',
  EPIPE: 'its reader went away',
  ETIMEDOUT: 'its file system does not answer',
};

/** Why a system call failed, in words where there are any, else by the name of its errno. */
export function errnoWords(error: unknown): string {
  const { code = 'failure' } = error as NodeJS.ErrnoException;
  return ERRNO_WORDS[code] ?? code;
}

/** What a terminal would obey or hide, as \\uXXXX. For text that is foreign, and for JSON, where it means the same. */
export function escapeInvisible(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, (c) => {
    return `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

/** A value as it may stand in a message: quoted, control characters escaped, cut to a line. */
export function quote(value: string): string {
  const shown = value.length > 200 ? `${value.slice(0, 200)}…` : value;
  return escapeInvisible(JSON.stringify(shown));
}

/** A foreign value in a command that a hint offers: a shell takes it for one word, and runs nothing in it. */
export function shellQuote(value: string): string {
  return /^[A-Za-z0-9_./:@%+=,-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
}
