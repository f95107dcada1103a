/** Reads what S3 answers with, under limits of size and silence. */
import type { Readable } from 'node:stream';
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3';
import { quote, SourceError } from '../errors.ts';

export interface BodyLimits {
  /** As a person wrote it, for messages. */
  readonly location: string;
  readonly bytesMax: number;
  /** What to do about one that is larger. */
  readonly tooLargeHint: string;
  /** A body that brings nothing for this long is given up. */
  readonly stallTimeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const STALL_TIMEOUT_MS = 10_000;
/** A whole body may take this long, and its size at a rate that is slower than any network between instances. */
const WHOLE_MS_MIN = 15_000;
const RATE_BYTES_PER_S_MIN = 256 * 1024;

/** All of it. Throws SourceError `source-too-large`, `source-unreachable`, `source-invalid`; and what the stream fails with. */
export async function readS3Body(
  { Body, ContentLength }: Pick<GetObjectCommandOutput, 'Body' | 'ContentLength'>,
  { location, bytesMax, tooLargeHint, stallTimeoutMs = STALL_TIMEOUT_MS, signal }: BodyLimits,
): Promise<Buffer> {
  const stream = Body as Readable | undefined;
  if (stream === undefined) {
    throw new SourceError('source-invalid', `cannot fetch ${quote(location)}: S3 answered without a body`, {
      hint: 'check the endpoint (AWS_ENDPOINT_URL_S3)',
    });
  }
  const tooLarge = (size: number | string): SourceError =>
    new SourceError(
      'source-too-large',
      `cannot fetch ${quote(location)}: it has ${size} bytes, want at most ${bytesMax}`,
      { hint: tooLargeHint },
    );
  if (ContentLength !== undefined && ContentLength > bytesMax) {
    stream.destroy();
    throw tooLarge(ContentLength);
  }
  const stalled = Object.assign(new Error('the body stalled'), { name: 'TimeoutError' });
  const timer = setTimeout(() => stream.destroy(stalled), stallTimeoutMs);
  // A byte now and then is no progress either.
  const wholeMs = WHOLE_MS_MIN + ((ContentLength ?? bytesMax) / RATE_BYTES_PER_S_MIN) * 1000;
  const deadline = setTimeout(() => stream.destroy(stalled), wholeMs);
  const abort = (): void => {
    stream.destroy(new Error('aborted'));
  };
  signal?.addEventListener('abort', abort, { once: true });
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      timer.refresh();
      length += chunk.length;
      if (length > bytesMax) throw tooLarge(`more than ${bytesMax}`);
      chunks.push(chunk);
    }
  } finally {
    clearTimeout(timer);
    clearTimeout(deadline);
    signal?.removeEventListener('abort', abort);
    stream.destroy();
  }
  // Node's own HTTP client reports this before; another handler may not.
  if (ContentLength !== undefined && length !== ContentLength) {
    throw new SourceError(
      'source-unreachable',
      `cannot fetch ${quote(location)}: the connection ended after ${length} of ${ContentLength} bytes`,
      { hint: 'try again, and look at the network of this machine' },
    );
  }
  return Buffer.concat(chunks, length);
}
