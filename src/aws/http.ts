/**
 * The HTTP handler that every AWS client here uses, also those that fetch credentials: the CA bundle, the proxy
 * (chosen for each request, because one client speaks to many hosts) and time limits. The instance metadata service
 * has an HTTP client of its own in the SDK, which knows no proxy: as it should be.
 */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import type { HttpHandler, HttpRequest, HttpResponse } from '@smithy/core/protocols';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { HttpHandlerOptions } from '@smithy/types';
import hpagent from 'hpagent';
import { ConfigError, quote } from '../errors.ts';
import { type ProxyFor, proxyFromEnvironment } from './proxy.ts';

/** Says nothing. Without a logger, or with one of the name NoOpLogger, the SDK writes warnings to the console. */
export class QuietLogger {
  trace(): void {}
  debug(): void {}
  info(): void {}
  warn(): void {}
  error(): void {}
}

/** A region that does not answer within this is given up: another one may be next. */
const CONNECT_TIMEOUT_MS = 3_000;

export interface HttpOptions {
  /** PEM, in place of Node's own list. */
  readonly ca: string | undefined;
  readonly proxyFor: ProxyFor;
  /** From the request to the response's headers. Not for uploads: they take as long as they take. */
  readonly requestTimeoutMs?: number;
  /** Without a byte in either direction. */
  readonly idleTimeoutMs: number;
}

/** As many as any command sends at a time. */
const SOCKETS_MAX = 256;

type Handle = { response: HttpResponse };

/** Sends each request directly or through its proxy. */
export class ProxyingHandler implements HttpHandler<object> {
  readonly metadata = { handlerProtocol: 'http/1.1' };
  readonly #options: HttpOptions;
  readonly #handlers = new Map<string, NodeHttpHandler>();

  constructor(options: HttpOptions) {
    this.#options = options;
  }

  async handle(request: HttpRequest, options?: HttpHandlerOptions): Promise<Handle> {
    const proxy = this.#options.proxyFor(request);
    if (proxy === undefined) return this.#handler(undefined).handle(request, options);
    if (request.protocol === 'https:') return this.#handler(proxy).handle(request, options);
    return this.#handler(undefined).handle(throughHttpProxy(request, proxy), options);
  }

  destroy(): void {
    for (const handler of this.#handlers.values()) handler.destroy();
    this.#handlers.clear();
  }

  updateHttpClientConfig(): void {}

  httpHandlerConfigs(): object {
    return {};
  }

  #handler(proxy: URL | undefined): NodeHttpHandler {
    const name = proxy?.href ?? '';
    let handler = this.#handlers.get(name);
    if (handler === undefined) {
      handler = this.#newHandler(proxy);
      this.#handlers.set(name, handler);
    }
    return handler;
  }

  #newHandler(proxy: URL | undefined): NodeHttpHandler {
    const { ca, requestTimeoutMs, idleTimeoutMs } = this.#options;
    const trust = ca === undefined ? {} : { ca: [ca] };
    const agentOptions = { keepAlive: true, maxSockets: SOCKETS_MAX, ...trust };
    return new NodeHttpHandler({
      httpAgent: new http.Agent(agentOptions),
      httpsAgent:
        proxy === undefined
          ? new https.Agent(agentOptions)
          : new hpagent.HttpsProxyAgent({
              ...agentOptions,
              proxy,
              proxyRequestOptions: trust,
              // Ends a CONNECT that the proxy never answers; nothing else would close its socket.
              timeout: CONNECT_TIMEOUT_MS,
            }),
      connectionTimeout: CONNECT_TIMEOUT_MS,
      socketTimeout: idleTimeoutMs,
      ...(requestTimeoutMs === undefined ? {} : { requestTimeout: requestTimeoutMs }),
      throwOnRequestTimeout: true,
      logger: new QuietLogger(),
    });
  }
}

/** A plain http request as a proxy wants it: sent to the proxy, the whole URL in the request line. */
function throughHttpProxy(request: HttpRequest, proxy: URL): HttpRequest {
  const clone = Object.assign(Object.create(Object.getPrototypeOf(request)), request) as HttpRequest;
  const port = request.port === undefined ? '' : `:${request.port}`;
  clone.path = `http://${request.hostname}${port}${request.path}`;
  clone.protocol = proxy.protocol;
  clone.hostname = proxy.hostname;
  delete clone.port;
  if (proxy.port !== '') clone.port = Number(proxy.port);
  clone.headers = { ...request.headers };
  if (proxy.username !== '' || proxy.password !== '') {
    const user = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
    clone.headers['proxy-authorization'] = `Basic ${Buffer.from(user).toString('base64')}`;
  }
  return clone;
}

async function readCaBundle(path: string): Promise<string> {
  const unreadable = (why: string, cause?: unknown): ConfigError =>
    new ConfigError('config-unreadable', `cannot read the CA bundle ${quote(path)}: ${why}`, {
      hint: 'AWS_CA_BUNDLE (or ca_bundle of the profile) names a file of certificates in PEM form',
      cause,
    });
  let pem: string;
  try {
    pem = await readFile(path, 'utf8');
  } catch (error) {
    throw unreadable((error as NodeJS.ErrnoException).code ?? 'error', error);
  }
  const certificates = pem.match(/-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs);
  if (certificates === null) throw unreadable('it holds no certificate');
  try {
    // TLS would leave out a broken one without a word.
    for (const certificate of certificates) new X509Certificate(certificate);
  } catch (error) {
    throw unreadable('a certificate in it is broken', error);
  }
  return pem;
}

/** What the environment and the profile say about HTTP. Throws ConfigError. */
export async function httpSettings(
  env: NodeJS.ProcessEnv,
  profileCaBundle: string | undefined,
): Promise<Pick<HttpOptions, 'ca' | 'proxyFor'>> {
  const caBundle = env['AWS_CA_BUNDLE'] || profileCaBundle || env['REQUESTS_CA_BUNDLE'];
  return {
    ca: caBundle === undefined || caBundle === '' ? undefined : await readCaBundle(caBundle),
    proxyFor: proxyFromEnvironment(env),
  };
}
