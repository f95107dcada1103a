/**
 * Thousands of calls of one kind, past most of the AWS SDK: one goes through it, and what it made of that (host, headers, how
 * it is signed) is what the next are made of. What the SDK finds out anew for every call is most of the 1.3 to 1.8 ms of CPU
 * that one takes; like this it is about 0.5.
 *
 * Only success is taken from here. Anything else (another status, no answer) is for the SDK, to which the caller then gives
 * the same call: it follows redirects, waits, repeats, and says what is wrong. What was learned is forgotten then, until a call
 * through the SDK has succeeded again.
 */
import { extendedEncodeURIComponent, HttpRequest, type HttpResponse } from '@smithy/core/protocols';
import type { HttpHandlerOptions, HttpSigner, Identity, MiddlewareStack } from '@smithy/types';

/** What every call has of its own: of the signature and its time, of attempts, and of the body. */
const OWN_HEADERS =
  /^(authorization|x-amz-date|x-amz-content-sha256|x-amz-security-token|amz-sdk-|content-length$|content-md5$|x-amz-checksum-|range$|if-)/;

interface Learned {
  readonly request: HttpRequest;
  sign(request: HttpRequest): Promise<HttpRequest>;
}

interface Scheme {
  readonly httpAuthOption: {
    readonly schemeId: string;
    readonly signingProperties?: Record<string, unknown>;
  };
  readonly identity: Identity;
  readonly signer: HttpSigner;
}

export interface Replay {
  /** The SDK's name of the command, and the bucket of one of S3. */
  readonly command: string;
  readonly bucket?: string | undefined;
  /** Of S3. */
  readonly key?: string | undefined;
  /** In small letters; of those in OWN_HEADERS there are no others. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Buffer | undefined;
}

/** A client of the SDK, as far as it is needed here. */
export interface ReplayedClient {
  readonly middlewareStack: MiddlewareStack<object, object>;
  readonly config: {
    readonly requestHandler: {
      handle(request: HttpRequest, options?: HttpHandlerOptions): Promise<{ response: HttpResponse }>;
    };
  };
}

export class Replays {
  readonly #client: ReplayedClient;
  readonly #learned = new Map<string, Learned>();

  /** From now on what `client` sends is looked at. */
  constructor(client: ReplayedClient) {
    this.#client = client;
    client.middlewareStack.add(
      (next, context) => async (args) => {
        const answered = await next(args);
        const { request, input } = args as unknown as { request: HttpRequest; input: Partial<S3Input> };
        const { commandName = '' } = context as { commandName?: string };
        const learned = learn(request, input, context as Context);
        if (learned !== undefined) this.#learned.set(nameOf(commandName, input.Bucket), learned);
        return answered;
      },
      // After all that signs.
      { step: 'finalizeRequest', priority: 'low', name: 'learnForReplays' },
    );
  }

  /**
   * Sends one more. Resolves to the answer, if it is one of success, with its body yet to be read; else to whether the server
   * may have got the call.
   */
  async send(call: Replay, options: HttpHandlerOptions = {}): Promise<HttpResponse | { mayBeDone: boolean }> {
    const name = nameOf(call.command, call.bucket);
    const learned = this.#learned.get(name);
    if (learned === undefined) return { mayBeDone: false };
    try {
      const request = HttpRequest.clone(learned.request);
      if (call.key !== undefined) request.path += encodeKey(call.key);
      Object.assign(request.headers, call.headers);
      if (call.body !== undefined) {
        request.body = call.body;
        request.headers['content-length'] = String(call.body.length);
      }
      const signed = await learned.sign(request);
      const { response } = await this.#client.config.requestHandler.handle(signed, options);
      if (response.statusCode >= 200 && response.statusCode < 300) return response;
      response.body?.destroy?.();
    } catch {
      // The SDK will say it.
    }
    this.#learned.delete(name);
    return { mayBeDone: true };
  }
}

interface S3Input {
  readonly Bucket: string;
  readonly Key: string;
  readonly VersionId: string;
}

interface SigningConfig {
  signer(scheme: unknown): unknown;
}

interface Context {
  readonly __smithy_context?: { readonly selectedHttpAuthScheme?: Scheme };
  /** Of buckets with sessions of their own. */
  readonly s3ExpressIdentity?: unknown;
}

function nameOf(command: string, bucket: string | undefined): string {
  return `${command} ${bucket ?? ''}`;
}

/** Of a call that was sent, and of S3 without its key. undefined where it asks for a version, or is signed in another way than the usual. */
function learn(sent: HttpRequest, input: Partial<S3Input>, context: Context): Learned | undefined {
  const scheme = context.__smithy_context?.selectedHttpAuthScheme;
  const { Key, VersionId } = input;
  if (VersionId !== undefined) return undefined;
  if (scheme?.httpAuthOption.schemeId !== 'aws.auth#sigv4' || context.s3ExpressIdentity !== undefined)
    return undefined;
  const request = HttpRequest.clone(sent);
  request.body = undefined;
  request.headers = Object.fromEntries(
    Object.entries(sent.headers).filter(([name]) => !OWN_HEADERS.test(name.toLowerCase())),
  );
  if (Key !== undefined) {
    const encoded = encodeKey(Key);
    if (!request.path.endsWith(`/${encoded}`)) return undefined;
    request.path = request.path.slice(0, -encoded.length);
  }
  const { httpAuthOption, identity, signer } = scheme;
  const { signingProperties = {} } = httpAuthOption;
  const properties = {
    ...signingProperties,
    config: makingOneSigner(signingProperties['config'] as SigningConfig),
  };
  const sign = (unsigned: HttpRequest) => signer.sign(unsigned, identity, properties) as Promise<HttpRequest>;
  return { request, sign };
}

/** The SDK makes a signer for each call. Each asks for the credentials whenever it signs. */
function makingOneSigner(config: SigningConfig): SigningConfig {
  let made: unknown;
  return Object.create(config, {
    signer: {
      value: (scheme: unknown) => {
        made ??= config.signer(scheme);
        return made;
      },
    },
  });
}

function encodeKey(key: string): string {
  return key.split('/').map(extendedEncodeURIComponent).join('/');
}
