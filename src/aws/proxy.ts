/**
 * Which proxy a request goes through: the aws command's rules (Python's urllib), so that an environment in which
 * it works works here. The lower-case variable wins; NO_PROXY holds "*" or host names, each of which also stands
 * for the names under it, with or without a port; there are no CIDR ranges and there is no ALL_PROXY.
 */
import { ConfigError } from '../errors.ts';

export interface ProxyTarget {
  /** "https:" or "http:". */
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number | undefined;
}

/** The proxy for a target, or undefined where it is spoken to directly. The URL may hold a password: never log it. */
export type ProxyFor = (target: ProxyTarget) => URL | undefined;

function variable(env: NodeJS.ProcessEnv, name: string): string | undefined {
  return env[name] ?? env[name.toUpperCase()];
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function parseProxy(name: string, text: string): URL {
  const withScheme = /^https?:/i.test(text)
    ? text
    : text.startsWith('//')
      ? `http:${text}`
      : `http://${text}`;
  if (URL.canParse(withScheme)) {
    const url = new URL(withScheme);
    if (url.hostname !== '' && isDecodable(url.username) && isDecodable(url.password)) return url;
  }
  // The value may hold a password, so it is not shown.
  throw new ConfigError('config-invalid', `cannot use the proxy in ${name.toUpperCase()}: it is not a URL`, {
    hint: 'write it as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, with the password percent-encoded',
  });
}

/** Throws ConfigError where a proxy variable is not a URL. */
export function proxyFromEnvironment(env: NodeJS.ProcessEnv): ProxyFor {
  const proxies = new Map<string, URL>();
  for (const scheme of ['https', 'http']) {
    const text = variable(env, `${scheme}_proxy`)?.trim();
    if (text) proxies.set(`${scheme}:`, parseProxy(`${scheme}_proxy`, text));
  }
  const noProxy = (variable(env, 'no_proxy') ?? '')
    .split(',')
    .map((entry) => entry.trim().toLowerCase().replace(/^\.+/, ''))
    .filter((entry) => entry !== '');

  return ({ protocol, hostname, port }) => {
    const proxy = proxies.get(protocol);
    if (proxy === undefined || noProxy.includes('*')) return undefined;
    const host = hostname.toLowerCase();
    const hostPort = `${host}:${port ?? (protocol === 'https:' ? 443 : 80)}`;
    const direct = noProxy.some((entry) =>
      [host, hostPort].some((name) => name === entry || name.endsWith(`.${entry}`)),
    );
    return direct ? undefined : proxy;
  };
}
