/**
 * What a TLS handshake costs nginx where a variable in ssl_certificate makes it read certificate and key at each: CPU
 * time of its one worker, with the files on ramfs, on ours, and on ours with --fast-open. One worker serves all of
 * them in turn, at one address, and which one is decided by the name that the client asks for: so no difference between
 * two workers or two servers is taken for one between filesystems. A second ramfs says what the measurement itself differs by. The key is EC P-256, which makes the cheapest handshake there is: with any other
 * the files are a smaller part of it.
 */
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { connect } from 'node:tls';
import { freePort } from '../support/moto.ts';
import { Bench, eventually } from '../support/program.ts';
import { makeCertificate } from '../support/tls.ts';
import { type Filesystem, ours, pack, ramfs } from './filesystems.ts';
import { type Benchmark, median, pairedRatio, type Result } from './measure.ts';
import { cpuNs, PLACEMENTS, type Placement, place, processTree } from './processes.ts';

const BLOCKS = 20;
/**
 * In each block the subjects take so many turns of one handshake, and the block's figure is their median: a CPU's speed
 * creeps within a second, and what a handshake was interrupted for is on its account. Turns of eight and their mean made
 * intervals three times as wide, which lay elsewhere in each run.
 */
const TURNS = 60;
const WARM_UP = 50;
const SETTLE_MS = 1;
const REST_MS = 8_000;
const STATISTIC = `median of ${BLOCKS} medians of ${TURNS}`;

type Subject = Filesystem & { readonly ratioMax?: number };

export const nginx: Benchmark = {
  name: 'nginx',
  async run(scope) {
    const bench = await Bench.create(scope);
    await mkdir(bench.path('made'));
    await makeCertificate(bench.path('made'), '0A01');
    // All paths are of one length: the heaps of nginx and OpenSSL lie otherwise where a path is longer, which made 5 %.
    const base = await ramfs(bench, 'mnt-web-original');
    const control = { ...(await ramfs(bench, 'mnt-web-controls')), name: 'ramfs again' };
    for (const name of ['web.crt', 'web.key']) {
      for (const { directory } of [base, control])
        await copyFile(bench.path('made', name), path.join(directory, name));
    }
    const bundle = await pack(bench, base.directory, 'web');
    const subjects: Subject[] = [
      base,
      control,
      { ...(await ours(bench, bundle, 'web-answered', 'default')), ratioMax: 1.15 },
      { ...(await ours(bench, bundle, 'web-fastopen', '--fast-open')), ratioMax: 1.05 },
    ];
    const port = await freePort();
    const worker = await startNginx(bench, subjects, port);

    for (const i of subjects.keys()) await handshakes(port, i, WARM_UP);
    // Those of our processes that are there for the start alone have ended then, and all is as it is at rest.
    await new Promise((resolve) => setTimeout(resolve, REST_MS));
    scope.after(() => place([process.pid], 'unpinned'));
    const results: Result[] = [];
    for (const placement of PLACEMENTS) {
      for (const { pids } of subjects) await place(await pids(), placement);
      await place([worker], placement);
      await place([process.pid], placement === 'pinned' ? 'elsewhere' : placement);
      results.push(...(await compare(worker, subjects, port, placement)));
    }
    return results;
  },
};

async function compare(
  worker: number,
  subjects: readonly Subject[],
  port: number,
  placement: Placement,
): Promise<Result[]> {
  const worked = subjects.map((): number[] => []);
  for (let block = 0; block < BLOCKS; block++) {
    const ns = subjects.map((): number[] => []);
    for (const i of turns(subjects.length)) {
      // Not counted: what the one before left in the CPU's caches is not to be this one's cost.
      await handshake(port, i);
      await settle();
      const before = await cpuNs([worker]);
      await handshake(port, i);
      await settle();
      ns[i]?.push((await cpuNs([worker])) - before);
    }
    for (const [i, values] of ns.entries()) worked[i]?.push(median(values));
  }
  const served: number[] = [];
  for (const [i, subject] of subjects.entries()) served.push(await servedNs(subject, port, i));
  return subjects.map((subject, i): Result => {
    const blocks = worked[i] ?? [];
    const value = median(blocks) / 1000;
    const name = `nginx worker, CPU a handshake: ${subject.name}`;
    const result = { name, value, unit: 'µs', statistic: STATISTIC, placement } as const;
    if (i === 0) return result;
    const ratio = { ...pairedRatio(blocks, worked[0] ?? []), to: 'ramfs' };
    if (subject.ratioMax === undefined) return { ...result, ratio };
    return {
      ...result,
      ratio,
      targets: [{ text: `interval ≤ ${subject.ratioMax} ×`, met: ratio.interval[1] <= subject.ratioMax }],
      note: `mount: ${((served[i] ?? 0) / 1000).toFixed(0)} µs`,
    };
  });
}

/**
 * What a handshake costs the mount's processes. Not looked at in the turns: whoever is looked at longer than another has
 * a colder cache at its handshake, which made 5 to 14 % of difference.
 */
async function servedNs(subject: Subject, port: number, i: number): Promise<number> {
  const pids = await subject.pids();
  const before = await cpuNs(pids);
  await handshakes(port, i, BLOCKS * TURNS);
  return ((await cpuNs(pids)) - before) / (BLOCKS * TURNS);
}

/** A worker that sleeps has all its time on its account. */
const settle = () => new Promise((resolve) => setTimeout(resolve, SETTLE_MS));

/** Each of `count` so often, shuffled: nobody always follows the same one. */
function* turns(count: number): Iterable<number> {
  for (let turn = 0; turn < TURNS; turn++) {
    const order = Array.from({ length: count }, (_, i) => ({ i, key: Math.random() }));
    for (const { i } of order.sort((a, b) => a.key - b.key)) yield i;
  }
}

/** Returns the worker's process. */
async function startNginx(bench: Bench, subjects: readonly Filesystem[], port: number): Promise<number> {
  const at = (name: string) => bench.path(name);
  // user root: a worker that opens files as it goes must be let into our directory.
  await writeFile(
    at('nginx.conf'),
    `daemon off; user root; worker_processes 1; events {}
pid ${at('nginx.pid')}; error_log ${at('nginx.log')};
http {
  access_log off; ssl_session_cache off; ssl_session_tickets off;
  client_body_temp_path ${at('body')}; proxy_temp_path ${at('proxy')}; fastcgi_temp_path ${at('fastcgi')};
  uwsgi_temp_path ${at('uwsgi')}; scgi_temp_path ${at('scgi')};
  map $ssl_server_name $certificates {
${subjects.map(({ directory }, i) => `    ${serverName(i)} ${directory};`).join('\n')}
  }
  server {
    listen 127.0.0.1:${port} ssl;
    ssl_certificate $certificates/web.crt;
    ssl_certificate_key $certificates/web.key;
    return 200 "hello";
  }
}
`,
  );
  const master = bench.start('setpriv', [
    '--pdeathsig',
    'TERM',
    'nginx',
    '-c',
    at('nginx.conf'),
    '-e',
    at('nginx.log'),
  ]);
  await eventually(() => handshake(port, 0));
  const [, worker, ...more] = await processTree(master.pid ?? 0);
  if (worker === undefined || more.length > 0) throw new Error('nginx has not one worker');
  return worker;
}

/** What a client asks for that is to be served from subject `i`. */
const serverName = (i: number) => `subject${i}.test`;

async function handshakes(port: number, subject: number, count: number): Promise<void> {
  for (let n = 0; n < count; n++) await handshake(port, subject);
}

/** A full one: no session is kept. */
function handshake(port: number, subject: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      port,
      host: '127.0.0.1',
      servername: serverName(subject),
      rejectUnauthorized: false,
      timeout: 5_000,
    });
    socket.once('secureConnect', () => socket.end());
    socket.once('close', () => resolve());
    socket.once('timeout', () => socket.destroy(new Error('no handshake in time')));
    socket.once('error', reject);
    socket.resume();
  });
}
