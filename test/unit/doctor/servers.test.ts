/** Whom owners, modes and the rules of access: keep from what nginx and haproxy want, on a machine of texts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CHECKS } from '../../../src/doctor/checks.ts';
import type { Check, Verdict } from '../../../src/doctor/finding.ts';
import type { OpenedContent, Served } from '../../../src/doctor/opened.ts';
import type { MountPlan } from '../../../src/doctor/subject.ts';
import { fakeSubject } from '../../support/fake-machine.ts';

const WWW = { name: 'www-data', uid: 33, gids: [33] };
const NGINX = '/lib/systemd/system/nginx.service';
const file = (path: string, more: Partial<Served> = {}): Served => ({
  ...{ path, kind: 'file', uid: 0, gid: 0, mode: 0o600, target: undefined },
  ...more,
});
const directory = (path: string): Served => file(path, { kind: 'directory', mode: 0o755 });
const SERVED = [
  ...[directory('tls'), file('tls/web.crt'), file('tls/web.key'), directory('crt')],
  ...[file('crt/a.pem'), file('crt/.hidden'), file('lists', { mode: 0o644 })],
  file('open', { mode: 0o644 }),
];

interface Place {
  readonly nginx?: string;
  readonly haproxy?: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly plan?: Partial<MountPlan>;
  readonly lists?: OpenedContent['lists'];
}

/** What is wrong, in words; and which lists were asked for. */
async function look(id: string, { nginx, haproxy, files = {}, plan = {}, lists = [] }: Place) {
  let asked: readonly string[] = [];
  const content = { served: SERVED, lists } as unknown as OpenedContent;
  const part = { directory: undefined, sources: [{ bundle: 'b', aws: {} }] } as never;
  const subject = fakeSubject(
    {
      users: [WWW],
      files: {
        ...(nginx === undefined ? {} : { '/etc/nginx/nginx.conf': nginx }),
        ...(haproxy === undefined ? {} : { '/etc/haproxy/haproxy.cfg': haproxy }),
        ...files,
      },
    },
    {
      plan: { parts: [part], ...plan },
      outside: {
        open: async (_source, _part, wanted) => {
          asked = wanted;
          return { bytes: 1, content };
        },
      },
    },
  );
  const check = CHECKS.find((each) => each.id === id) as Check;
  const verdicts = [await check.run(subject)].flat() as Verdict[];
  const bad = verdicts.filter(({ state }) => state !== 'ok').map(({ found }) => found);
  return { bad, asked, fix: verdicts[0]?.fix };
}

const opens = (...rules: MountPlan['opens']['rules'][number][]) => ({ opens: { rules, audit: false } });
const KEY = 'user www-data; ssl_certificate_key /srv/web/tls/web.key;';
const ONLY_NGINX = opens({ match: 'tls/*', allow: [{ unit: 'nginx.service' }] });

test('a rule that refuses root refuses who starts nginx, and is named', async () => {
  const { bad, fix } = await look('nginx', {
    nginx: KEY,
    files: { [NGINX]: '[Service]\n' },
    plan: opens({ match: 'tls/*.key', allow: [{ uid: 33 }, { unit: 'app.service' }] }),
  });
  assert.deepEqual(bad, [
    '"/srv/web/tls/web.key" of /etc/nginx/nginx.conf:1: the rule of access: for "tls/*.key" refuses root in nginx.service',
  ]);
  assert.equal(fix, 'in the config, to allow: of match: "tls/*.key" add {user: root, unit: nginx.service}');
});

test('who is all that an entry names is let pass: by unit, by user, by a supplementary group', async () => {
  const unit = { [NGINX]: '[Service]\n' };
  for (const plan of [
    ONLY_NGINX,
    opens({ match: 'tls/*', allow: [{ uid: 0 }] }),
    opens({ match: 'tls/*', allow: [{ gid: 0, unit: 'nginx*' }] }),
    opens({ match: 'other/*', allow: [{ uid: 5 }] }),
    // The first that matches counts.
    opens({ match: 'tls/**', allow: [{ uid: 0 }] }, { match: 'tls/web.key', allow: [{ uid: 5 }] }),
  ])
    assert.deepEqual((await look('nginx', { nginx: KEY, files: unit, plan })).bad, []);
  // Of no unit that is installed the name is not known.
  assert.deepEqual((await look('nginx', { nginx: KEY, plan: ONLY_NGINX })).bad, []);
});

test('workers are held against the rules as well, and need the modes first', async () => {
  const nginx = 'user www-data; auth_basic_user_file /srv/web/open;';
  const plan = opens({ match: 'open', allow: [{ uid: 0 }] });
  assert.deepEqual((await look('nginx', { nginx, plan })).bad, [
    '"/srv/web/open" of /etc/nginx/nginx.conf:1: the rule of access: for "open" refuses www-data, which reads it while it serves',
  ]);
  const closed = 'user www-data; auth_basic_user_file /srv/web/tls/web.key;';
  assert.match((await look('nginx', { nginx: closed })).bad[0] ?? '', /mode 0600\) keeps out www-data/);
});

test('a hook tests the configuration in the unit of the mount, which a rule may refuse', async () => {
  const hooks = [{ name: 'reload', action: { kind: 'nginx' } }] as never;
  const files = { [NGINX]: '[Service]\n', '/lib/systemd/system/secretsfs@.service': '[Service]\n' };
  const { bad } = await look('nginx', { nginx: KEY, files, plan: { ...ONLY_NGINX, hooks } });
  assert.deepEqual(bad, [
    '"/srv/web/tls/web.key" of /etc/nginx/nginx.conf:1: the rule of access: for "tls/*" refuses root in secretsfs@web.service, as which the hook reload reads it',
  ]);
  const both = opens({
    match: 'tls/*',
    allow: [{ unit: 'nginx.service' }, { unit: 'secretsfs@*.service' }],
  });
  assert.deepEqual((await look('nginx', { nginx: KEY, files, plan: { ...both, hooks } })).bad, []);
});

const CRT_LIST = 'global\n crt-base /srv/web/tls\nfrontend x\n bind :1 ssl crt-list /srv/web/lists';

test('what a list in the bundle names is looked for, and never said', async () => {
  const listed = [
    { path: 'web.crt', line: 1 },
    { path: 'MIIEvQIBADANBgk', line: 2 },
    { path: '/etc/elsewhere.pem', line: 3 },
  ];
  const { bad, asked } = await look('haproxy', { haproxy: CRT_LIST, lists: [{ path: 'lists', listed }] });
  assert.deepEqual(asked, ['lists']);
  assert.deepEqual(bad, ['what "/srv/web/lists:2" names is not in the bundle']);
  const plan = opens({ match: 'tls/*', allow: [{ uid: 33 }] });
  const refused = await look('haproxy', {
    ...{ haproxy: CRT_LIST, plan, lists: [{ path: 'lists', listed: listed.slice(0, 1) }] },
  });
  assert.deepEqual(refused.bad, [
    'what "/srv/web/lists:1" names: the rule of access: for "tls/*" refuses root',
  ]);
});

test('haproxy reads all its files as one: what is relative in one lies below a base of another', async () => {
  const more = '/etc/haproxy/conf.d/web.cfg';
  const base = (text: string) =>
    look('haproxy', { haproxy: 'global\n crt-base /srv/web/tls', files: { [more]: text } });
  const { bad } = await base('frontend x\n bind :1 ssl crt web.crt crt gone.pem');
  assert.deepEqual(bad, [`"/srv/web/tls/gone.pem" of ${more}:2 is not in the bundle`]);
  // It begins in no section: this is none of global.
  assert.deepEqual((await base('crt-base /srv/web/none\nfrontend x\n bind :1 ssl crt web.crt')).bad, []);
});

test('what is no list is said to be none', async () => {
  const place = { nginx: KEY, haproxy: CRT_LIST, lists: [{ path: 'lists', listed: undefined }] };
  assert.deepEqual((await look('nginx', place)).bad, []);
  const { bad } = await look('haproxy', place);
  assert.deepEqual(bad, ['"/srv/web/lists" is no list of certificates, and is named as one (crt-list)']);
});

test('of a directory of certificates each file is read, but what begins with a dot', async () => {
  const haproxy = 'frontend x\n bind :1 ssl crt /srv/web/crt/';
  const plan = (match: string) => opens({ match, allow: [{ uid: 5 }] });
  assert.deepEqual((await look('haproxy', { haproxy, plan: plan('crt/.hidden') })).bad, []);
  assert.match(
    (await look('haproxy', { haproxy, plan: plan('crt/*.pem') })).bad[0] ?? '',
    /the rule of access: for "crt\/\*\.pem" refuses root$/,
  );
});
