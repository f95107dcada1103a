/**
 * As much of S3 as a listing and a ranged read need, of one bucket whose objects all have the same bytes: an answer costs
 * nearly nothing, so that what is measured is the client.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface BareS3 {
  readonly url: string;
  close(): Promise<void>;
}

const PAGE = 1000;
const MODIFIED = '2026-01-01T00:00:00.000Z';
const ETAG = '"0123456789abcdef0123456789abcdef"';

/** `keys` in their order, of plain letters. */
export async function startBareS3(keys: readonly string[], bytes: Buffer): Promise<BareS3> {
  const page = (from: number): string => {
    const contents = keys
      .slice(from, from + PAGE)
      .map(
        (key) =>
          `<Contents><Key>${key}</Key><LastModified>${MODIFIED}</LastModified><ETag>${ETAG}</ETag><Size>${bytes.length}</Size></Contents>`,
      );
    const next = from + PAGE;
    const more = next < keys.length;
    const token = more ? `<NextContinuationToken>${next}</NextContinuationToken>` : '';
    return `<?xml version="1.0"?><ListBucketResult><IsTruncated>${more}</IsTruncated>${token}${contents.join('')}</ListBucketResult>`;
  };
  const server = createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? '', 'http://s3');
    if (searchParams.has('list-type')) {
      response.writeHead(200, { 'content-type': 'application/xml' });
      response.end(page(Number(searchParams.get('continuation-token') ?? 0)));
      return;
    }
    const last = Number(/-(\d+)$/.exec(request.headers.range ?? '')?.[1] ?? bytes.length - 1);
    const part = bytes.subarray(0, last + 1);
    response.writeHead(206, {
      'content-length': part.length,
      'content-range': `bytes 0-${part.length - 1}/${bytes.length}`,
      etag: ETAG,
      'last-modified': new Date(MODIFIED).toUTCString(),
    });
    response.end(part);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
