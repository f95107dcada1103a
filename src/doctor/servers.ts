/**
 * nginx and haproxy: that what their configurations want of the mount is in the bundle, and may be read by whom reads it. Root
 * reads at start and reload, before it gives up its rights, unless their units say another user; nginx's workers read what has a
 * variable in its name, and password files, while they serve.
 */
import { quote, SecretsfsError } from '../errors.ts';
import { type ConfigReader, expand } from './expand.ts';
import { type Check, ok, problem, unknown, type Verdict, warning } from './finding.ts';
import { certificatesOfList, crtBase, filesOf, parseHaproxy } from './haproxy-config.ts';
import { readNginxConfig } from './nginx-config.ts';
import type { Subject } from './subject.ts';
import { type Reader, ServedTree } from './tree.ts';
import { lastOf } from './units.ts';

const NGINX_CONF = '/etc/nginx/nginx.conf';
const HAPROXY_CFG = '/etc/haproxy/haproxy.cfg';
const HAPROXY_MORE = '/etc/haproxy/conf.d/*.cfg';
/** Of one server; the rest is counted. */
const FINDINGS_SHOWN = 10;

/** A file of the mount that a configuration names. */
export interface Wanted {
  /** As it is written, absolute. */
  readonly path: string;
  /** Where: "/etc/nginx/sites-enabled/web:12". */
  readonly at: string;
  readonly directory: 'never' | 'may be';
  /** While it serves, by its workers. */
  readonly whileServing: boolean;
}

interface ServerConfig {
  readonly wanted: readonly Wanted[];
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
function readerFor({ machine, plan }: Subject): ConfigReader {
  const isInside = (path: string) => insideOf(plan?.mountpoint ?? '', path) !== undefined;
  return {
    read: async (file) => (isInside(file) ? '' : machine.read(file)),
    list: async (directory) => (isInside(directory) ? [] : machine.list(directory)),
  };
}

async function nginxConfig(subject: Subject): Promise<ServerConfig | undefined> {
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
  return { wanted, problems, worker };
}

async function haproxyConfig(subject: Subject): Promise<ServerConfig | undefined> {
  const reader = readerFor(subject);
  const files = [HAPROXY_CFG, ...(await expand(HAPROXY_MORE, reader))];
  const wanted: Wanted[] = [];
  const problems: string[] = [];
  let worker = 'root';
  let isThere = false;
  for (const file of files) {
    const text = await reader.read(file);
    if (text === undefined) continue;
    isThere = true;
    const lines = parseHaproxy(text);
    worker =
      lines.findLast(({ section, words }) => section === 'global' && words[0] === 'user')?.words[1] ?? worker;
    for (const { path, kind, line } of filesOf(lines)) {
      const directory = kind === 'certificate' ? 'may be' : 'never';
      const at = `${file}:${line}`;
      wanted.push({ path, at, directory, whileServing: false });
      const list = kind === 'list' ? await reader.read(path) : undefined;
      for (const each of certificatesOfList(list ?? '', crtBase(lines)))
        wanted.push({ path: each, at: path, directory, whileServing: false });
    }
  }
  return isThere ? { wanted, problems, worker } : undefined;
}

const SERVERS = { nginx: nginxConfig, haproxy: haproxyConfig } as const;
type Server = keyof typeof SERVERS;

/** The path inside the mount; undefined: it is elsewhere. */
export function insideOf(mountpoint: string, path: string): string | undefined {
  const clean = path.replace(/\/+/g, '/').replace(/\/$/, '');
  const roots = [mountpoint, mountpoint.replace(/^\/run\//, '/var/run/')];
  const root = roots.find((each) => clean === each || clean.startsWith(`${each}/`));
  return root === undefined ? undefined : clean.slice(root.length + 1);
}

/** Which servers name files of the mount. */
export async function readsMount(subject: Subject): Promise<Server[]> {
  const { plan } = subject;
  const found: Server[] = [];
  for (const server of Object.keys(SERVERS) as Server[]) {
    const config = plan === undefined ? undefined : await SERVERS[server](subject);
    if (config?.wanted.some(({ path }) => insideOf(plan?.mountpoint ?? '', path) !== undefined) === true)
      found.push(server);
  }
  return found;
}

function check(server: Server): Check {
  return {
    id: server,
    area: 'servers',
    what: `files that ${server} wants of the mount`,
    async run(subject) {
      const { plan } = subject;
      const config = plan === undefined ? undefined : await SERVERS[server](subject);
      if (plan === undefined || config === undefined) return undefined;
      const test = server === 'nginx' ? 'nginx -t' : `haproxy -c -f ${HAPROXY_CFG}`;
      const verdicts: Verdict[] = config.problems.map((text) =>
        warning(`its configuration can't be read whole: ${text}`, test),
      );
      const mine = config.wanted.filter(({ path }) => insideOf(plan.mountpoint, path) !== undefined);
      if (mine.length === 0) return verdicts.length > 0 ? verdicts : ok('none');
      const tree = await treeOf(subject);
      if (tree === undefined)
        return [
          ...verdicts,
          unknown(
            'whether they are there is not known: the bundle could not be opened',
            'mend what is said of the bundle first',
          ),
        ];
      const { starting, serving } = await readersOf(subject, server, config.worker);
      for (const wanted of mine) {
        const reader = wanted.whileServing ? serving : starting;
        const verdict = judge(tree, wanted, insideOf(plan.mountpoint, wanted.path) ?? '', reader);
        if (verdict !== undefined && !verdicts.some(({ found }) => found === verdict.found))
          verdicts.push(verdict);
      }
      const more = verdicts.length - FINDINGS_SHOWN;
      if (more > 0) return [...verdicts.slice(0, FINDINGS_SHOWN), problem(`and ${more} more`, test)];
      return verdicts.length > 0
        ? verdicts
        : ok(`${mine.length} of its lines name files of the mount, all in the bundle`);
    },
  };
}

export const SERVER_CHECKS: readonly Check[] = [check('nginx'), check('haproxy')];

async function treeOf(subject: Subject): Promise<ServedTree | undefined> {
  const tree = new ServedTree();
  for (const part of subject.plan?.parts ?? []) {
    const [source] = part.sources;
    const opened =
      source === undefined
        ? undefined
        : await subject
            .opened(part, source)
            .catch((error) => (error instanceof SecretsfsError ? undefined : Promise.reject(error)));
    if (opened?.content === undefined) return undefined;
    tree.add(part.directory, opened.content.served);
  }
  return tree;
}

async function readersOf(
  subject: Subject,
  server: Server,
  worker: string,
): Promise<{ readonly starting: Reader; readonly serving: Reader }> {
  const unit = await subject.unit(`${server}.service`);
  const starting = await readerOf(
    subject,
    (unit === undefined ? undefined : lastOf(unit, 'User')?.value) ?? 'root',
  );
  // Who starts as a user stays one.
  return { starting, serving: starting.uid === 0 ? await readerOf(subject, worker) : starting };
}

async function readerOf({ machine }: Subject, name: string): Promise<Reader> {
  if (name === 'root' || name === '0') return { name, uid: 0, gids: [0] };
  const user = await machine.user(name);
  // Nobody's: what is open to all.
  return user === undefined ? { name, uid: -1, gids: [] } : { ...user, name };
}

function judge(
  tree: ServedTree,
  { path, at, directory, whileServing }: Wanted,
  inside: string,
  reader: Reader,
): Verdict | undefined {
  const fits = inside.includes('$') ? patternOf(inside) : undefined;
  const nodes =
    fits === undefined
      ? [tree.find(inside)]
      : tree.paths.filter((each) => fits.test(each)).map((each) => tree.find(each));
  const found = nodes.filter((node) => node !== undefined);
  const repack = `pack the bundle with it, or correct ${at}`;
  if (found.length === 0) return problem(`${quote(path)} of ${at} is not in the bundle`, repack);
  for (const node of found) {
    if (node.kind === 'directory') {
      if (directory === 'never') return problem(`${quote(path)} of ${at} is a directory`, repack);
      if (tree.filesIn(node.path).length === 0)
        return problem(`${quote(path)} of ${at} is a directory without files`, repack);
    }
    const closed = tree.closedAt(node, reader);
    if (closed === undefined) continue;
    const mode = closed.mode.toString(8).padStart(4, '0');
    const when = whileServing ? ', which reads it while it serves' : '';
    return problem(
      `${quote(path)} of ${at}: ${quote(closed.path)} (uid ${closed.uid}, mode ${mode}) keeps out ${reader.name}${when}`,
      `in the config: files: [{match: ${quote(node.path)}, group: ${reader.name}, mode: "0640"}]`,
    );
  }
  return undefined;
}

/** A variable stands for any text without a slash. */
function patternOf(inside: string): RegExp {
  const parts = inside.split(/\$(?:\{\w+\}|\w+)/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('[^/]*')}$`);
}
