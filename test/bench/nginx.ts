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
import { type Benchmark, pairedRatio, type Result } from './measure.ts';
import { cpuNs, PLACEMENTS, type Placement, place, processTree } from './processes.ts';

const BLOCKS = 20;
/** In each block the subjects take so many turns of so few handshakes: a CPU's speed creeps within a second. */
const TURNS = 12;
const HANDSHAKES = 8;
/** Before each turn, not counted: what the one before left in the CPU's caches is not to be this one's cost. */
const HANDSHAKES_BEFORE = 2;
const WARM_UP = 50;
const SETTLE_MS = 2;
const REST_MS = 8_000;
const STATISTIC = `mean of ${BLOCKS} × ${TURNS * HANDSHAKES}`;

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
  const served = subjects.map(() => 0);
  const servers = await Promise.all(subjects.map((subject) => subject.pids()));
  for (let block = 0; block < BLOCKS; block++) {
    const ns = subjects.map(() => 0);
    for (const i of turns(subjects.length)) {
      const pids = servers[i] ?? [];
      await handshakes(port, i, HANDSHAKES_BEFORE);
      const before = { worker: await cpuNs([worker]), servers: await cpuNs(pids) };
      await handshakes(port, i, HANDSHAKES);
      // A worker that sleeps has all its time on its account.
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      ns[i] = (ns[i] ?? 0) + (await cpuNs([worker])) - before.worker;
      served[i] = (served[i] ?? 0) + (await cpuNs(pids)) - before.servers;
    }
    for (const [i, value] of ns.entries()) worked[i]?.push(value);
  }
  const perHandshakeUs = (ns: number) => ns / 1000 / (BLOCKS * TURNS * HANDSHAKES);
  return subjects.map((subject, i): Result => {
    const blocks = worked[i] ?? [];
    const value = perHandshakeUs(blocks.reduce((sum, ns) => sum + ns, 0));
    const name = `nginx worker, CPU a handshake: ${subject.name}`;
    const result = { name, value, unit: 'µs', statistic: STATISTIC, placement } as const;
    if (i === 0) return result;
    const ratio = { ...pairedRatio(blocks, worked[0] ?? []), to: 'ramfs' };
    if (subject.ratioMax === undefined) return { ...result, ratio };
    return {
      ...result,
      ratio,
      targets: [{ text: `interval ≤ ${subject.ratioMax} ×`, met: ratio.interval[1] <= subject.ratioMax }],
      note: `mount: ${perHandshakeUs(served[i] ?? 0).toFixed(0)} µs`,
    };
  });
}

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
