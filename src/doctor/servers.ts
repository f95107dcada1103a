/**
 * nginx and haproxy: that what their configurations want of the mount is in the bundle, and may be read by whom reads it. Root
 * reads at start and reload, before it gives up its rights, unless their units say another user; nginx's workers read what has a
 * variable in its name, and password files, while they serve; hooks of the mount read what they test. `access:` holds for all.
 */
import { quote, SecretsfsError } from '../errors.ts';
import { type Check, ok, problem, unknown, type Verdict, warning } from './finding.ts';
import { belowBase } from './haproxy-config.ts';
import type { OpenedContent, Served } from './opened.ts';
import { readersOf, refusedBy, type UnitReader } from './readers.ts';
import {
  HAPROXY_CFG,
  insideOf,
  SERVERS,
  type Server,
  type ServerConfig,
  type Wanted,
} from './server-configs.ts';
import type { MountPlan, Subject } from './subject.ts';
import { ServedTree } from './tree.ts';

/** Of one server; the rest is counted. */
const FINDINGS_SHOWN = 10;

/** Which servers name files of the mount. */
export async function readsMount(subject: Subject): Promise<Server[]> {
  const { plan } = subject;
  const found: Server[] = [];
  for (const server of Object.keys(SERVERS) as Server[]) {
    const config = plan === undefined ? undefined : await SERVERS[server](subject);
    if (plan !== undefined && config !== undefined && ofMount(config.wanted, plan).length > 0)
      found.push(server);
  }
  return found;
}

const ofMount = (wanted: readonly Wanted[], { mountpoint }: MountPlan) =>
  wanted.filter(({ path }) => insideOf(mountpoint, path) !== undefined);

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
      const named = ofMount(config.wanted, plan);
      if (named.length === 0) return verdicts.length > 0 ? verdicts : ok('none');
      const bundles = await bundlesOf(subject);
      if (bundles === undefined)
        return [
          ...verdicts,
          unknown(
            'whether they are there is not known: the bundle could not be opened',
            'mend what is said of the bundle first',
          ),
        ];
      const own = config.lists.map((path) => insideOf(plan.mountpoint, path));
      const lists = bundles.lists.filter(({ path }) => own.includes(path));
      const mine = [...named, ...ofMount(listedIn(lists, config, plan), plan)];
      verdicts.push(...lists.flatMap((list) => noList(list, plan)));
      const judged = { tree: bundles.tree, plan };
      const readers = await readersOf(subject, server, config.worker);
      for (const wanted of mine) {
        const reader = wanted.whileServing ? readers.serving : readers.starting;
        for (const each of [reader, ...readers.hooks]) {
          const verdict = judge(judged, wanted, each);
          if (verdict === undefined) continue;
          if (!verdicts.some(({ found }) => found === verdict.found)) verdicts.push(verdict);
          break;
        }
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

interface Bundles {
  readonly tree: ServedTree;
  /** By their paths in the mount. */
  readonly lists: OpenedContent['lists'];
}

/** Undefined where one of them could not be opened. */
async function bundlesOf(subject: Subject): Promise<Bundles | undefined> {
  const tree = new ServedTree();
  const lists: OpenedContent['lists'][number][] = [];
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
    const prefix = part.directory === undefined ? '' : `${part.directory}/`;
    for (const { path, listed } of opened.content.lists) lists.push({ path: `${prefix}${path}`, listed });
  }
  return { tree, lists };
}

/** What lists in the bundles name. That is content, so where it is written is said, and not what. */
function listedIn(lists: Bundles['lists'], { listBase }: ServerConfig, { mountpoint }: MountPlan): Wanted[] {
  return lists.flatMap(({ path, listed = [] }) =>
    listed.map((each): Wanted => {
      const at = `${mountpoint}/${path}:${each.line}`;
      return {
        ...{ path: belowBase(each.path, listBase), at, directory: 'never', whileServing: false },
        shown: `what ${quote(at)} names`,
      };
    }),
  );
}

function noList({ path, listed }: OpenedContent['lists'][number], { mountpoint }: MountPlan): Verdict[] {
  if (listed !== undefined) return [];
  const found = `${quote(`${mountpoint}/${path}`)} is no list of certificates, and is named as one (crt-list)`;
  return [problem(found, 'name a certificate by crt, or pack a list')];
}

interface Judged {
  readonly tree: ServedTree;
  readonly plan: MountPlan;
}

function judge({ tree, plan }: Judged, wanted: Wanted, reader: UnitReader): Verdict | undefined {
  const { path, at, directory } = wanted;
  const inside = insideOf(plan.mountpoint, path) ?? '';
  const shown = wanted.shown ?? `${quote(path)} of ${at}`;
  const found = nodesOf(tree, inside);
  const repack = `pack the bundle with it, or correct ${at}`;
  if (found.length === 0) return problem(`${shown} is not in the bundle`, repack);
  for (const node of found) {
    const files = node.kind === 'directory' ? readIn(tree, node) : [];
    if (node.kind === 'directory') {
      if (directory === 'never') return problem(`${shown} is a directory`, repack);
      if (files.length === 0) return problem(`${shown} is a directory without files`, repack);
    }
    for (const each of [node, ...files]) {
      const verdict = keptOut(tree, each, { reader, plan, shown });
      if (verdict !== undefined) return verdict;
    }
  }
  return undefined;
}

/** All of them that fit, where there is a variable in the name. */
function nodesOf(tree: ServedTree, inside: string): Served[] {
  const fits = inside.includes('$') ? patternOf(inside) : undefined;
  const paths = fits === undefined ? [inside] : tree.paths.filter((each) => fits.test(each));
  return paths.flatMap((each) => tree.find(each) ?? []);
}

/** What haproxy reads of a directory: all but what begins with a dot. */
function readIn(tree: ServedTree, { path }: Served): Served[] {
  const files = tree.filesIn(path).filter((each) => !/(^|\/)\.[^/]*$/.test(each.path));
  return files.flatMap((each) => tree.find(each.path) ?? []);
}

function keptOut(
  tree: ServedTree,
  node: Served,
  { reader, plan, shown }: { readonly reader: UnitReader; readonly plan: MountPlan; readonly shown: string },
): Verdict | undefined {
  const closed = tree.closedAt(node, reader);
  if (closed !== undefined) {
    const mode = closed.mode.toString(8).padStart(4, '0');
    return problem(
      `${shown}: ${quote(closed.path)} (uid ${closed.uid}, mode ${mode}) keeps out ${reader.name}${reader.when}`,
      `in the config: files: [{match: ${quote(node.path)}, group: ${reader.name}, mode: "0640"}]`,
    );
  }
  if (node.kind === 'directory') return undefined;
  const rule = refusedBy(plan.opens.rules, node.path, reader);
  if (rule === undefined) return undefined;
  const { name, unit, when } = reader;
  const who = unit === undefined ? `user: ${name}` : `user: ${name}, unit: ${unit}`;
  return problem(
    `${shown}: the rule of access: for ${quote(rule)} refuses ${name}${unit === undefined ? '' : ` in ${unit}`}${when}`,
    `in the config, to allow: of match: ${quote(rule)} add {${who}}`,
  );
}

/** A variable stands for any text without a slash. */
function patternOf(inside: string): RegExp {
  const parts = inside.split(/\$(?:\{\w+\}|\w+)/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('[^/]*')}$`);
}
