/**
 * Programs look at a generation before it goes live (`checks.exec`), with the whole program: what they see, what everybody
 * else sees meanwhile, and that nothing is left, whoever is killed.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Events } from '../support/inotify.ts';
import { freePort } from '../support/moto.ts';
import { childrenOf, kill } from '../support/processes.ts';
import { Bench, type Daemon, eventually, run } from '../support/program.ts';
import { argvOf, isNode, roleOf } from '../support/secret-mount.ts';
import { makeCertificate } from '../support/tls.ts';

const NGINX = '/usr/sbin/nginx';
const HAPROXY = '/usr/sbin/haproxy';

interface Check {
  readonly name: string;
  readonly run: readonly string[];
  readonly match?: readonly string[];
  readonly timeout?: string;
  readonly user?: string;
}

class Place {
  readonly bench: Bench;
  /** Where nobody but root may write. */
  readonly etc: string;

  private constructor(bench: Bench, etc: string) {
    this.bench = bench;
    this.etc = etc;
  }

  static async create(t: TestContext): Promise<Place> {
    const bench = await Bench.create(t);
    const etc = await mkdtemp('/run/secretsfs-trial-');
    bench.after(() => rm(etc, { recursive: true, force: true }));
    for (const name of ['secrets', 'mnt']) await mkdir(bench.path(name));
    // For a supervisor that was killed: its mount stays in the table.
    bench.after(() => run('umount', ['-l', bench.path('mnt')]));
    await bench.must(['keygen', 'key']);
    return new Place(bench, etc);
  }

  get mountpoint(): string {
    return this.bench.path('mnt');
  }

  /** Below `etc`. */
  at(name: string): string {
    return path.join(this.etc, name);
  }

  /** A check that is this shell script, which finds the mount in $M and `etc` in $E. */
  async script(name: string, text: string): Promise<Check> {
    await writeFile(this.at(name), `M=${this.mountpoint}; E=${this.etc}\n${text}\n`);
    return { name, run: ['/bin/sh', this.at(name)] };
  }

  async pack(): Promise<void> {
    const { bench } = this;
    await bench.must(['pack', '--dir', 'secrets', '--key', 'local:key', '--name', 'web', 'new.enc']);
    await rename(bench.path('new.enc'), bench.path('web.enc'));
  }

  /** A bundle of one file, `a`. The mount takes it by itself. */
  async put(text: string): Promise<void> {
    await writeFile(this.bench.path('secrets/a'), text);
    await this.pack();
  }

  /** A config of theirs and of `more`, in `etc`: the arguments of a mount with it. */
  async config(exec: readonly Check[], more: object = {}, etc = this.etc): Promise<string[]> {
    // YAML takes JSON.
    const file = path.join(etc, 'web.yaml');
    await writeFile(file, JSON.stringify({ driver: 'kernel', checks: { exec }, ...more }));
    return ['web.enc', 'mnt', '--key', 'local:key', '--config', file];
  }

  async start(exec: readonly Check[]): Promise<Daemon> {
    return this.bench.startMount(await this.config(exec));
  }

  appears(name: string): Promise<void> {
    return eventually(async () => assert.ok(existsSync(this.at(name)), `${name} is missing`));
  }

  /** Pids of the daemon's children whose program it is, Node processes all. */
  children(daemon: Daemon, role: string): number[] {
    return childrenOf(daemon.child.pid as number).filter((pid) => isNode(pid) && roleOf(pid) === role);
  }
}

/** Pids whose command line has the text. */
function withArgument(text: string): number[] {
  return pids().filter((pid) => argvOf(pid).some((word) => word.includes(text)));
}

function pids(): number[] {
  return readdirSync('/proc').map(Number).filter(Number.isInteger);
}

/** Mounts of ours at the path, in every mount namespace there is: how many tables have how many. */
function mountTables(mountpoint: string): Map<string, number> {
  const tables = new Map<string, number>();
  for (const pid of pids()) {
    try {
      const mounts = readFileSync(`/proc/${pid}/mountinfo`, 'utf8').split('\n');
      const here = mounts.filter(
        (line) => line.split(' ')[4] === mountpoint && line.includes(' fuse.secretsfs '),
      );
      if (here.length > 0) tables.set(here.map((line) => line.split(' ')[2]).join(), here.length);
    } catch {
      // It is gone.
    }
  }
  return tables;
}

/** What the process holds of mounts and stores, which have no other names: how many of each. */
function held(pid: number): string[] {
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return '';
    }
  });
  return links.filter((link) => /fuse|^\/$|^\/(gen|candidate|changes|control|status)/.test(link)).sort();
}

/** Says that it is there, and asks the mount's server now and then, and waits to be told to go on. */
const WAIT =
  'touch $E/started; while ! [ -e $E/go ]; do stat -f $M > /dev/null; sleep 0.05; done; rm $E/go $E/started';

test('a check sees the candidate at the live path, and nobody else sees it before it is live', async (t) => {
  const place = await Place.create(t);
  const { bench, mountpoint } = place;
  const look = await place.script(
    'look',
    `cat $M/a > $E/seen; ${WAIT}; cat $M/a >> $E/seen
     ls -l /proc/self/fd > $E/fds; ls /proc > $E/processes
     touch $M/x 2> $E/refused; rm $M/a 2>> $E/refused; echo x 2>> $E/refused > $M/a
     mount -i -o remount,rw $M 2>> $E/refused; umount $M 2>> $E/refused
     cat /proc/1/environ 2>> $E/refused
     exit 0`,
  );
  const who: Check = { name: 'who', run: ['/usr/bin/id', '-u'], user: 'nobody', match: ['*.crt'] };
  await place.put('one');
  const daemon = await place.start([look, who]);

  await place.appears('started');
  assert.equal(await readFile(place.at('seen'), 'utf8'), 'one');
  assert.deepEqual(await readdir(mountpoint), [], 'nothing is mounted for others');
  await writeFile(place.at('go'), '');
  await daemon.event('ready');
  assert.equal(await readFile(path.join(mountpoint, 'a'), 'utf8'), 'one');
  const whoSaid = daemon.lines.filter(({ event, check }) => event === 'check-output' && check === 'who');
  assert.deepEqual(
    whoSaid.map(({ line }) => line),
    ['65534'],
  );

  const events = await Events.of((cleanup) => bench.after(cleanup), [mountpoint, path.join(mountpoint, 'a')]);
  const live = mountTables(mountpoint);
  await place.put('two');
  await place.appears('started');
  assert.equal(await readFile(place.at('seen'), 'utf8'), 'two');
  assert.equal(await readFile(path.join(mountpoint, 'a'), 'utf8'), 'one');
  // Another mount, in another namespace; and the live one where it was.
  const during = mountTables(mountpoint);
  assert.deepEqual([...during.values()], [1, 1]);
  for (const [device, count] of live) assert.equal(during.get(device), count);
  assert.deepEqual(await events.rest(), []);
  await writeFile(place.at('go'), '');
  await daemon.event('activated', 2);
  assert.equal(await readFile(path.join(mountpoint, 'a'), 'utf8'), 'two');
  assert.equal(await readFile(place.at('seen'), 'utf8'), 'twotwo');
  assert.notDeepEqual(await events.rest(), []);
  assert.deepEqual(mountTables(mountpoint), live);

  // What it held: input, output, and the directory that ls reads.
  const fds = (await readFile(place.at('fds'), 'utf8')).split('\n').filter((line) => line.includes('->'));
  assert.equal(fds.length, 4, fds.join('\n'));
  for (const line of fds) assert.doesNotMatch(line, /fuse|gen-|candidate|control|-> \/$/);
  const refused = (await readFile(place.at('refused'), 'utf8')).trim().split('\n');
  assert.ok(refused.length >= 6, refused.join('\n'));
  assert.ok(refused.filter((line) => line.includes('Read-only file system')).length >= 3, refused.join('\n'));
  // Nothing of the machine's processes: itself, its runner, and the like.
  const processes = (await readFile(place.at('processes'), 'utf8'))
    .split('\n')
    .filter((name) => /^\d+$/.test(name));
  assert.ok(processes.length < 10 && processes.includes('1'), processes.join());
  // No file that matches has changed.
  const passed = daemon.lines.filter(({ event }) => event === 'check-passed').map(({ check }) => check);
  assert.deepEqual(passed, ['look', 'who', 'look']);
  assert.equal(await daemon.stop(), 0);
});

test('a check finds the owners and modes that files: gives', async (t) => {
  const place = await Place.create(t);
  const rules = [{ match: '**', group: 65534, mode: '0440' }];
  const look = { name: 'look', run: ['/usr/bin/stat', '-c', '%a %g', path.join(place.mountpoint, 'a')] };
  await place.put('one');
  const daemon = await place.bench.startMount(await place.config([look], { files: rules }));
  await daemon.event('ready');
  assert.deepEqual(
    daemon.lines.filter(({ event }) => event === 'check-output').map(({ line }) => line),
    ['440 65534'],
  );
});

test('nginx -t and haproxy -c refuse a key that is not the certificate’s, and the right pair goes live', async (t) => {
  const place = await Place.create(t);
  const { bench, mountpoint } = place;
  const at = (name: string) => place.at(name);
  await writeFile(
    at('nginx.conf'),
    `pid ${at('nginx.pid')}; error_log /dev/stderr; events {}
http {
  access_log /dev/stdout;
  client_body_temp_path ${at('body')}; proxy_temp_path ${at('proxy')}; fastcgi_temp_path ${at('fastcgi')};
  uwsgi_temp_path ${at('uwsgi')}; scgi_temp_path ${at('scgi')};
  server {
    listen 127.0.0.1:${await freePort()} ssl;
    ssl_certificate ${mountpoint}/web.crt; ssl_certificate_key ${mountpoint}/web.key;
  }
}
`,
  );
  await writeFile(
    at('haproxy.cfg'),
    `frontend web\n  mode http\n  timeout client 1s\n  bind 127.0.0.1:${await freePort()} ssl crt ${mountpoint}/web.pem\n`,
  );
  const secret = (name: string) => readFile(bench.path('secrets', name), 'utf8');
  /** web.crt and web.key, and both of them in web.pem; the key of `wrong` is another one's. */
  const renew = async (serial: string, wrong?: 'web.key' | 'web.pem') => {
    await makeCertificate(bench.path('secrets'), serial);
    const other = await secret('web.key');
    await makeCertificate(bench.path('secrets'), serial);
    const [crt, key] = [await secret('web.crt'), await secret('web.key')];
    await writeFile(bench.path('secrets/web.key'), wrong === 'web.key' ? other : key);
    await writeFile(bench.path('secrets/web.pem'), crt + (wrong === 'web.pem' ? other : key));
    await place.pack();
  };
  const checks = [
    {
      name: 'nginx',
      run: [NGINX, '-t', '-c', at('nginx.conf'), '-e', at('nginx.log')],
      match: ['*.crt', '*.key'],
    },
    { name: 'haproxy', run: [HAPROXY, '-c', '-f', at('haproxy.cfg')], match: ['*.pem'] },
  ];
  await renew('0A01');
  const daemon = await place.start(checks);
  await daemon.event('ready');
  const first = await readFile(path.join(mountpoint, 'web.crt'), 'utf8');

  await renew('0B02', 'web.key');
  const failed = await daemon.event('refresh-failed');
  assert.equal(failed['code'], 'check-exec');
  assert.match(
    `${failed['error']}`,
    /^cannot activate the generation: check "nginx" ended with code 1: ".*key values mismatch/,
  );
  assert.match(`${failed['hint']}`, /\/usr\/sbin\/nginx -t -c /);
  assert.equal(await readFile(path.join(mountpoint, 'web.crt'), 'utf8'), first);
  const status = JSON.parse(await bench.must(['status', 'web', '--json']))[0];
  assert.equal(status.error.code, 'check-exec');

  await renew('0C03', 'web.pem');
  assert.match(
    `${(await daemon.event('refresh-failed', 2))['error']}`,
    /check "haproxy" ended with code 1: ".*inconsistencies between private key and certificate/,
  );
  assert.equal(await readFile(path.join(mountpoint, 'web.crt'), 'utf8'), first);

  await renew('0D04');
  await daemon.event('activated', 2);
  const right = await readFile(bench.path('secrets/web.crt'), 'utf8');
  assert.equal(await readFile(path.join(mountpoint, 'web.crt'), 'utf8'), right);
  assert.equal(await daemon.stop(), 0);
});

test('what hangs, is killed, or leaves daemons behind is ended with all it started, and tried again', async (t) => {
  const place = await Place.create(t);
  const { bench, mountpoint } = place;
  // Nothing else has such arguments.
  const marker = `${process.pid}.${Date.now()}`;
  const check = await place.script(
    'check',
    `setsid sleep 1${marker} < /dev/null > /dev/null 2>&1 &
     case $(cat $M/a) in
       hang) sleep 2${marker} ;;
       kill) kill -9 $$ ;;
       wait) ${WAIT} ;;
       *) [ -e $E/fail ] && { echo "told to fail"; exit 3; } ;;
     esac; exit 0`,
  );
  await place.put('one');
  const daemon = await place.start([{ ...check, timeout: '3s' }]);
  await daemon.event('ready');
  assert.deepEqual(withArgument(marker), [], 'after one that passed');
  const live = mountTables(mountpoint);
  const supervisor = daemon.child.pid as number;
  let holds: string[] = [];
  // What was written just before the start may be fetched twice, and a candidate is more than its directories: what it holds at rest is what it holds twice in a row.
  await eventually(async () => {
    holds = held(supervisor);
    assert.deepEqual(
      holds.filter((link) => /^\/(gen|candidate|changes)/.test(link)),
      [],
    );
    await sleep(500);
    assert.deepEqual(held(supervisor), holds);
  });
  assert.ok(holds.includes('/dev/fuse'));
  const isAsItWas = async () => {
    await eventually(async () => assert.deepEqual(held(supervisor), holds));
    await eventually(async () => assert.deepEqual(withArgument(marker), []));
    await eventually(async () => assert.deepEqual(mountTables(mountpoint), live));
    assert.deepEqual(place.children(daemon, 'trial'), []);
    assert.equal(await readFile(path.join(mountpoint, 'a'), 'utf8'), 'one');
  };
  /** Puts what passes, and waits until it is live. */
  const passes = async (content: string) => {
    const activated = daemon.count('activated') + 1;
    await place.put(content);
    await daemon.event('activated', activated);
  };
  /** Puts what does not pass, and says why it did not. What was refused is tried again by itself, and would be taken for the next: so one passes in between. */
  const refused = async (content: string, meanwhile: () => Promise<void> = async () => undefined) => {
    const failures = daemon.count('refresh-failed');
    await place.put(content);
    await meanwhile();
    const why = `${(await daemon.event('refresh-failed', failures + 1))['error']}`;
    await isAsItWas();
    await passes('one');
    return why;
  };

  // Nobody touches anything: what depends on the world is tried again.
  await writeFile(place.at('fail'), '');
  await place.put('one');
  assert.match(
    `${(await daemon.event('refresh-failed'))['error']}`,
    /check "check" ended with code 3: "told to fail"/,
  );
  await rm(place.at('fail'));
  await daemon.event('activated', 2);
  assert.equal(await readFile(path.join(mountpoint, 'a'), 'utf8'), 'one');

  assert.match(await refused('hang'), /check "check" did not end within 3000 ms/);
  assert.match(await refused('kill'), /check "check" was ended by SIGKILL/);

  /** Ends a process of the trial while a check waits. */
  const killed = async (victim: () => number | undefined, signal: NodeJS.Signals = 'SIGKILL') => {
    await rm(place.at('started'), { force: true });
    return await refused('wait', async () => {
      await place.appears('started');
      const pid = victim();
      assert.ok(pid !== undefined && kill(pid, signal));
    });
  };
  const { processes } = JSON.parse(await bench.must(['status', 'web', '--json']))[0];
  const ordinary = (processes as { pid: number }[]).map(({ pid }) => pid);
  const server = () => place.children(daemon, 'server').find((pid) => !ordinary.includes(pid));
  assert.match(await killed(server), /it could not be tried: its server ended with SIGKILL/);
  assert.match(await killed(server, 'SIGSTOP'), /check "check" did not end within 3000 ms/);
  const waiter = () => childrenOf(supervisor).find((pid) => argvOf(pid)[0] === 'unshare');
  assert.match(await killed(waiter), /it could not be tried: its (runner ended with SIGKILL|mount is gone)/);
  const runner = () => {
    const pid = waiter();
    return pid === undefined ? undefined : childrenOf(pid)[0];
  };
  assert.match(await killed(runner), /it could not be tried: its (runner ended with|mount is gone)/);

  await passes('two');
  assert.equal(await readFile(path.join(mountpoint, 'a'), 'utf8'), 'two');
  assert.deepEqual(withArgument(marker), []);
  assert.equal(await daemon.stop(), 0);
});

test('a check ends with its mount, however that ends, and nothing is left of it', async (t) => {
  const place = await Place.create(t);
  const { mountpoint } = place;
  const marker = `${process.pid}.${Date.now()}`;
  const check = await place.script('check', `cat $M/a; touch $E/started; sleep 1${marker}`);
  await place.put('one');
  const nothingIsLeft = async () => {
    await eventually(async () => assert.deepEqual(withArgument(marker), []));
    await eventually(async () => assert.deepEqual(mountTables(mountpoint), new Map()));
    await eventually(async () => {
      const ours = pids().filter((pid) => roleOf(pid) !== undefined && started.includes(pid));
      assert.deepEqual(ours, []);
    });
    await rm(place.at('started'));
  };
  let started: number[] = [];
  place.bench.after(async () => {
    for (const pid of started) if (argvOf(pid).some((word) => word.endsWith('/trial.mjs'))) kill(pid);
  });
  const begin = async () => {
    const daemon = await place.start([check]);
    await place.appears('started');
    started = childrenOf(daemon.child.pid as number).flatMap((pid) => [pid, ...childrenOf(pid)]);
    assert.ok(started.length >= 3);
    assert.equal(mountTables(mountpoint).size, 1, 'the trial mount is there');
    return daemon;
  };

  const stopped = await begin();
  assert.equal(await stopped.stop(), 0);
  await nothingIsLeft();

  const killed = await begin();
  killed.child.kill('SIGKILL');
  await killed.ended;
  await nothingIsLeft();

  // The same with a runner that hears of nothing.
  const unheard = await begin();
  const runner = started.find((pid) => isNode(pid) && roleOf(pid) === 'trial');
  assert.ok(runner !== undefined && kill(runner, 'SIGSTOP'));
  unheard.child.kill('SIGKILL');
  await unheard.ended;
  await nothingIsLeft();
});

test('a mount whose first generation is refused does not start, nor one whose checks others could change, or fuse-native’s', async (t) => {
  const place = await Place.create(t);
  const { bench } = place;
  await place.put('one');
  const refusal = async (args: readonly string[]) => {
    const { code, stderr } = await bench.secretsfs(['mount', ...args, '--json']);
    return `${code} ${stderr}`;
  };
  const check = { name: 'true', run: ['/bin/true'] };
  const failing = await place.config([{ name: 'false', run: ['/bin/false'] }]);
  assert.match(await refusal(failing), /^7 .*check-exec.*check .*false.* ended with code 1/s);
  assert.equal(mountTables(place.mountpoint).size, 0);
  const open = bench.path('open');
  await mkdir(open, { mode: 0o700 });
  assert.match(
    await refusal(await place.config([check], {}, open)),
    /^3 .*config-untrusted.*cannot use checks\.exec/s,
  );
  await writeFile(place.at('loose'), '#!/bin/sh\n', { mode: 0o755 });
  await run('chmod', ['777', place.at('loose')]);
  const loose = await place.config([{ name: 'loose', run: [place.at('loose')] }]);
  assert.match(await refusal(loose), /^3 .*config-untrusted.*is writable by everybody/s);
  const inside = await place.config([{ name: 'inside', run: [path.join(place.mountpoint, 'a')] }]);
  assert.match(await refusal(inside), /^3 .*config-invalid.*inside the mount/s);
  const stranger = await place.config([{ ...check, user: 'nobody-of-that-name' }]);
  assert.match(await refusal(stranger), /^3 .*config-invalid.*there is no such user/s);
  const alone = [...(await place.config([check])), '--driver', 'fuse-native'];
  assert.match(await refusal(alone), /^3 .*config-invalid.*cannot use checks\.exec/s);
});
