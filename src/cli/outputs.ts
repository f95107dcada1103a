/**
 * Where pack writes. Looks first at what is there: the new serial must be above the old one, and what is not a bundle
 * of the same name is not replaced unasked. In S3 the write is conditional on exactly the object that was looked at.
 */
import type { AwsAccess } from '../aws/access.ts';
import { readHeader } from '../bundle/envelope.ts';
import type { BundleHeader } from '../bundle/header.ts';
import { checkLocation, isS3Url } from '../daemon/location.ts';
import { OutputError, quote, SecretsfsError, UsageError } from '../errors.ts';
import { FileSource } from '../source/file.ts';
import { checkWritable, writeFileAtomically } from '../source/output.ts';
import { S3Source } from '../source/s3.ts';
import { parseS3Url } from '../source/s3-url.ts';
import type { Context } from './command.ts';
import { refuseTerminal, writeStdout } from './streams.ts';

export interface Output {
  /** The bundle that will be replaced. */
  readonly replaces: BundleHeader | undefined;
  write(bytes: Buffer): Promise<void>;
  /** Throws what write() would, as far as that can be told without writing: of S3 nothing. */
  check(): Promise<void>;
}

export async function lookAtOutput(
  context: Context,
  out: string,
  options: { readonly name: string; readonly aws: AwsAccess; readonly force: boolean },
): Promise<Output> {
  if (out === '-') {
    refuseTerminal(context, 'a bundle');
    return {
      replaces: undefined,
      write: (bytes) => writeStdout(context, bytes),
      check: async () => undefined,
    };
  }
  if (!isS3Url(checkLocation(out))) {
    const head = await new FileSource(out).readHead().catch((cause: unknown) => {
      if (!(cause instanceof SecretsfsError)) throw cause;
      const message = cause.message.replace('cannot read', 'cannot replace');
      throw new OutputError('output-denied', message, {
        hint: 'give the name of a file that you may write',
        cause,
      });
    });
    const expected = head === undefined ? 'absent' : { revision: head.revision };
    return {
      replaces: head === undefined ? undefined : replaceable(out, head.bytes, options),
      // Sealed, it may be read by anybody.
      write: (bytes) => writeFileAtomically(out, bytes, { mode: 0o644, expected }),
      check: () => checkWritable(out, { expected }),
    };
  }
  const url = parseS3Url(out);
  if (url.versionId !== undefined) {
    throw new UsageError(`cannot write to ${quote(out)}: a version of an object cannot be written`, {
      hint: 'leave ?versionId out',
    });
  }
  const source = new S3Source(url, options.aws);
  const head = await source.readHead();
  return {
    replaces: head === undefined ? undefined : replaceable(out, head.bytes, options),
    write: (bytes) => source.putObject(bytes, head === undefined ? 'absent' : { etag: head.etag }),
    check: async () => undefined,
  };
}

function replaceable(
  out: string,
  head: Buffer,
  { name, force }: { readonly name: string; readonly force: boolean },
): BundleHeader | undefined {
  let header: BundleHeader | undefined;
  try {
    header = readHeader(head);
  } catch (error) {
    if (!(error instanceof SecretsfsError)) throw error;
  }
  if (header?.name === name || force) return header;
  const what =
    header === undefined
      ? 'it is not a bundle'
      : `it is the bundle ${quote(header.name)}, not ${quote(name)}`;
  throw new OutputError('output-exists', `cannot replace ${quote(out)}: ${what}`, {
    hint:
      header === undefined
        ? 'choose another name, or --force'
        : `--name ${header.name}, another place, or --force`,
  });
}
