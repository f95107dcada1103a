/**
 * A small HTTP server in front of moto that does what moto does not: refuses, throttles, stalls, resets and truncates.
 * Rules are asked in order; a request that none takes is passed on. Every request is recorded.
 */
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  /** X-Amz-Target's operation: "Decrypt". */
  readonly operation: string | undefined;
  /** Of the signature. */
  readonly region: string | undefined;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

export type Fault =
  /** An AWS error, as JSON (KMS, STS would be XML) or as XML (S3). */
  | {
      readonly kind: 'error';
      readonly status: number;
      readonly code: string;
      readonly headers?: Record<string, string>;
    }
  /** Any answer. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly headers: Record<string, string>;
      readonly body: string | Buffer;
    }
  /** Takes the request and never answers. */
  | { readonly kind: 'stall' }
  /** Passes on to another region, with `from` replaced by `to` in the request, and back in the answer. */
  | { readonly kind: 'rewrite'; readonly from: string; readonly to: string; readonly region: string }
  | { readonly kind: 'reset' }
  /** Passes on, and resets the connection in place of the answer. */
  | { readonly kind: 'lose' }
  /** Passes on, but sends only so many bytes of the body and then closes or stalls. */
  | { readonly kind: 'truncate'; readonly bytes: number; readonly then: 'close' | 'stall' }
  /** Passes on, with the body changed: cut after a part of it, with a byte flipped there, or said to be longer than it is. */
  | { readonly kind: 'spoil'; readonly how: 'cut' | 'flip' | 'longer'; readonly part: number };

export type Rule = (request: SeenRequest) => Fault | undefined;

export interface FaultProxy {
  readonly url: string;
  readonly seen: SeenRequest[];
  /** Replace at will. */
  rules: Rule[];
  close(): Promise<void>;
}

function errorAnswer(request: SeenRequest, fault: Fault & { kind: 'error' }, response: ServerResponse): void {
  const { status, code } = fault;
  if (request.operation !== undefined) {
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1', ...fault.headers });
    response.end(JSON.stringify({ __type: code, message: `${code} by the fault proxy` }));
  } else {
    response.writeHead(status, { 'content-type': 'application/xml', ...fault.headers });
    const inner = `<Code>${code}</Code><Message>by the fault proxy</Message>`;
    response.end(request.method === 'HEAD' ? '' : `<?xml version="1.0"?><Error>${inner}</Error>`);
  }
}

function spoil(
  answer: IncomingMessage,
  response: ServerResponse,
  { how, part }: Fault & { kind: 'spoil' },
): void {
  const chunks: Buffer[] = [];
  answer.on('data', (chunk: Buffer) => chunks.push(chunk));
  answer.on('end', () => {
    const body = Buffer.concat(chunks);
    const at = Math.min(body.length - 1, Math.floor(body.length * part));
    // An answer without a body (HEAD, 304) has nothing to spoil.
    if (body.length === 0) {
      response.writeHead(answer.statusCode ?? 502, answer.headers).end();
      return;
    }
    const length = how === 'longer' ? body.length + 100 : body.length;
    response.writeHead(answer.statusCode ?? 502, { ...answer.headers, 'content-length': String(length) });
    if (how === 'flip') body[at] = (body[at] ?? 0) ^ 0xff;
    if (how === 'flip') response.end(body);
    else response.write(how === 'cut' ? body.subarray(0, at) : body, () => response.socket?.destroy());
  });
}

export async function startFaultProxy(upstream: string): Promise<FaultProxy> {
  const target = new URL(upstream);
  const sockets = new Set<Socket>();
  const agent = new http.Agent({ keepAlive: false });

  const passOn = (
    request: SeenRequest,
    response: ServerResponse,
    truncate: (Fault & { kind: 'truncate' | 'spoil' | 'lose' }) | undefined,
  ): void => {
    const onward = http.request(
      {
        host: target.hostname,
        port: target.port,
        method: request.method,
        path: request.path,
        headers: request.headers,
        agent,
      },
      (answer) => {
        if (truncate?.kind === 'lose') {
          answer.resume().once('end', () => response.socket?.resetAndDestroy());
          return;
        }
        if (truncate?.kind === 'spoil') {
          spoil(answer, response, truncate);
          return;
        }
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        if (truncate === undefined) {
          answer.pipe(response);
          return;
        }
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () => {
          response.write(Buffer.concat(chunks).subarray(0, truncate.bytes), () => {
            if (truncate.then === 'close') response.socket?.destroy();
          });
        });
      },
    );
    onward.on('error', () => response.destroy());
    onward.end(request.body);
  };

  const rewrite = async (
    request: SeenRequest,
    response: ServerResponse,
    { from, to, region }: Fault & { kind: 'rewrite' },
  ): Promise<void> => {
    const { authorization = '', 'x-amz-target': operation = '', 'content-type': type = '' } = request.headers;
    const answer = await fetch(upstream, {
      method: 'POST',
      headers: {
        authorization: authorization.replace(`/${request.region}/`, `/${region}/`),
        'x-amz-target': String(operation),
        'content-type': type,
      },
      body: request.body.toString().replaceAll(from, to),
    });
    const body = (await answer.text()).replaceAll(to, from);
    response.writeHead(answer.status, { 'content-type': type }).end(body);
  };

  const answer = (message: IncomingMessage, response: ServerResponse, body: Buffer): void => {
    const target = message.headers['x-amz-target'];
    const request: SeenRequest = {
      method: message.method ?? '',
      path: message.url ?? '',
      operation: typeof target === 'string' ? target.split('.').at(-1) : undefined,
      region: /Credential=[^/]+\/\d+\/([^/]+)\//.exec(message.headers.authorization ?? '')?.[1],
      headers: message.headers,
      body,
    };
    proxy.seen.push(request);
    const fault = proxy.rules.map((rule) => rule(request)).find((f) => f !== undefined);
    if (fault === undefined) passOn(request, response, undefined);
    else if (fault.kind === 'error') errorAnswer(request, fault, response);
    else if (fault.kind === 'rewrite') rewrite(request, response, fault);
    else if (fault.kind === 'reset') message.socket.resetAndDestroy();
    else if (fault.kind === 'truncate' || fault.kind === 'spoil' || fault.kind === 'lose')
      passOn(request, response, fault);
    else if (fault.kind === 'answer') response.writeHead(fault.status, fault.headers).end(fault.body);
  };

  const server = http.createServer((message, response) => {
    const chunks: Buffer[] = [];
    message.on('data', (chunk: Buffer) => chunks.push(chunk));
    message.on('end', () => answer(message, response, Buffer.concat(chunks)));
    message.on('error', () => {});
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  const proxy: FaultProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen: [],
    rules: [],
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        agent.destroy();
        server.close(() => resolve());
      }),
  };
  return proxy;
}
