/**
 * What nginx and haproxy want of the mount, by their configurations: which files, who reads them, and which of them are lists that
 * name more. What is inside of the mount is not read here.
 */
import { type ConfigReader, expand } from './expand.ts';
import { certificatesOfList, crtBase, filesOf, parseHaproxy } from './haproxy-config.ts';
import { readNginxConfig } from './nginx-config.ts';
import type { Subject } from './subject.ts';

type Configured = Pick<Subject, 'machine' | 'plan'>;

const NGINX_CONF = '/etc/nginx/nginx.conf';
export const HAPROXY_CFG = '/etc/haproxy/haproxy.cfg';
const HAPROXY_MORE = '/etc/haproxy/conf.d/*.cfg';

/** A file of the mount that a configuration names. */
export interface Wanted {
  /** As it is written, absolute. */
  readonly path: string;
  /** Where: "/etc/nginx/sites-enabled/web:12". */
  readonly at: string;
  readonly directory: 'never' | 'may be';
  /** While it serves, by its workers. */
  readonly whileServing: boolean;
  /** How it is called in findings, where that is not its path. */
  readonly shown?: string;
}

export interface ServerConfig {
  readonly wanted: readonly Wanted[];
  /** Lists of certificates that are in the mount themselves, absolute; what they name is relative to `listBase`. */
  readonly lists: readonly string[];
  readonly listBase: string | undefined;
  readonly problems: readonly string[];
  /** As whom workers run. */
  readonly worker: string;
}

/** Directives whose files the master reads, as root. */
const NGINX_FILES =
  /^(|proxy_|grpc_|uwsgi_|mail_)?ssl_(certificate|certificate_key|client_certificate|trusted_certificate|password_file|dhparam|crl|session_ticket_key|stapling_file)$/;
/** Those that a worker opens for each request. */
const NGINX_SERVING = new Set(['auth_basic_user_file']);

/** Files outside of the mount: what is inside is not asked for, and reads as empty. */
function readerFor({ machine, plan }: Configured): ConfigReader {
  const isInside = (path: string) => insideOf(plan?.mountpoint ?? '', path) !== undefined;
  return {
    read: async (file) => (isInside(file) ? '' : machine.read(file)),
    list: async (directory) => (isInside(directory) ? [] : machine.list(directory)),
  };
}

async function nginxConfig(subject: Configured): Promise<ServerConfig | undefined> {
  const { plan } = subject;
  const reader = readerFor(subject);
  const named = plan?.hooks.find(({ action }) => action.kind === 'nginx')?.action;
  const main = (named?.kind === 'nginx' ? named.config : undefined) ?? NGINX_CONF;
  if ((await reader.read(main)) === undefined) return undefined;
  const { directives, problems } = await readNginxConfig(main, reader);
  const prefix = main.slice(0, main.lastIndexOf('/'));
  const wanted = directives.flatMap(({ name, args, file, line }): Wanted[] => {
    const [value] = args;
    const isServing = NGINX_SERVING.has(name);
    if (value === undefined || (!isServing && !NGINX_FILES.test(name)) || /^(data|engine|store):/.test(value))
      return [];
    const path = value.startsWith('/') ? value : `${prefix}/${value}`;
    return [
      { path, at: `${file}:${line}`, directory: 'never', whileServing: isServing || value.includes('$') },
    ];
  });
  const worker =
    directives.find(({ name, blocks }) => name === 'user' && blocks.length === 0)?.args[0] ?? 'nobody';
  return { wanted, lists: [], listBase: undefined, problems, worker };
}

async function haproxyConfig(subject: Configured): Promise<ServerConfig | undefined> {
  const reader = readerFor(subject);
  const files = [HAPROXY_CFG, ...(await expand(HAPROXY_MORE, reader))];
  const texts = await Promise.all(files.map(async (file) => ({ file, text: await reader.read(file) })));
  if (texts.every(({ text }) => text === undefined)) return undefined;
  // As one: what is global in one file counts in all.
  const lines = texts.flatMap(({ file, text = '' }) => parseHaproxy(text, file));
  const listBase = crtBase(lines);
  const user = lines.findLast(({ section, words }) => section === 'global' && words[0] === 'user');
  const wanted: Wanted[] = [];
  const lists: string[] = [];
  for (const { path, kind, file, line } of filesOf(lines)) {
    const directory = kind === 'certificate' ? 'may be' : 'never';
    wanted.push({ path, at: `${file}:${line}`, directory, whileServing: false });
    if (kind !== 'list') continue;
    if (insideOf(subject.plan?.mountpoint ?? '', path) !== undefined) lists.push(path);
    for (const each of certificatesOfList((await reader.read(path)) ?? '', listBase))
      wanted.push({ path: each.path, at: `${path}:${each.line}`, directory, whileServing: false });
  }
  return { wanted, lists, listBase, problems: [], worker: user?.words[1] ?? 'root' };
}

export const SERVERS = { nginx: nginxConfig, haproxy: haproxyConfig } as const;
export type Server = keyof typeof SERVERS;

/** The path inside the mount; undefined: it is elsewhere. */
export function insideOf(mountpoint: string, path: string): string | undefined {
  const clean = path.replace(/\/+/g, '/').replace(/\/$/, '');
  const roots = [mountpoint, mountpoint.replace(/^\/run\//, '/var/run/')];
  const root = roots.find((each) => clean === each || clean.startsWith(`${each}/`));
  return root === undefined ? undefined : clean.slice(root.length + 1);
}

/** Paths in the mount of the lists of certificates that haproxy reads there; none where its configuration can't be read. */
export async function listsInMount(subject: Configured): Promise<string[]> {
  const mountpoint = subject.plan?.mountpoint;
  if (mountpoint === undefined) return [];
  // Why it can't is what the check of haproxy says.
  const config = await haproxyConfig(subject).catch(() => undefined);
  return (config?.lists ?? []).flatMap((path) => insideOf(mountpoint, path) ?? []);
}
