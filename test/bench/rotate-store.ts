/**
 * `rotate` over a store of 5,000 secrets on moto. What limits it shows in how many requests are with the server on average:
 * where that is nearly as many as may be, the server is never waiting for us.
 */
import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { awsEnv, createBucket, createKey, replaceEnv, startMoto, unique } from '../support/moto.ts';
import { Bench } from '../support/program.ts';
import { StoredSecrets } from '../support/stored-secrets.ts';
import { atLeast, type Benchmark, type Result, type Scope } from './measure.ts';

const COUNT = 5_000;
const CONCURRENCY = 32;
/** Of the requests that may be under way: else we are what is waited for. */
const BUSY_MIN = 0.8;

interface Counting {
  readonly url: string;
  /** Sum of how long requests were under way since the last call, in ms. */
  takeMs(): number;
}

/** Passes everything on, and counts how long it takes. */
async function startCounting(scope: Scope, upstream: string): Promise<Counting> {
  const { hostname, port } = new URL(upstream);
  const agent = new http.Agent({ keepAlive: true });
  let busyMs = 0;
  const server = http.createServer((request, response) => {
    const begin = performance.now();
    response.once('close', () => {
      busyMs += performance.now() - begin;
    });
    const { method, url: path, headers } = request;
    const onward = http.request({ hostname, port, agent, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.once('error', () => response.destroy());
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  scope.after(() => {
    server.closeAllConnections();
    agent.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    takeMs() {
      const taken = busyMs;
      busyMs = 0;
      return taken;
    },
  };
}

export const rotateStore: Benchmark = {
  name: 'rotate-store',
  async run(scope) {
    const moto = await startMoto();
    scope.after(() => moto.stop());
    scope.after(replaceEnv(awsEnv(moto.url)));
    const [oldKey, newKey] = [await createKey(moto.url), await createKey(moto.url)];
    const location = `s3://${await createBucket(moto.url)}/${unique('store')}`;
    const secrets = await StoredSecrets.make(location, { count: COUNT, key: oldKey });
    scope.after(() => secrets.destroy());
    const counting = await startCounting(scope, moto.url);
    const bench = await Bench.create(scope, {
      ...awsEnv(counting.url),
      S3_PATH: location,
      KMS_KEY_ID: newKey,
    });

    const rotated = async (concurrency: number, ...patterns: string[]) => {
      counting.takeMs();
      const begin = performance.now();
      const args = ['rotate', ...patterns, '--concurrency', String(concurrency), '--json'];
      const facts = JSON.parse(await bench.must(args, { timeoutMs: 900_000 }));
      const ms = performance.now() - begin;
      assert.equal(facts.rotated, facts.total);
      return { ms, each: ms / facts.total, total: facts.total as number, underWay: counting.takeMs() / ms };
    };
    const one = await rotated(1, 'app-0/secret-00*');
    const many = await rotated(CONCURRENCY);
    const resultOf = (name: string, { ms, underWay }: typeof one, concurrency: number): Result => ({
      name,
      value: ms,
      unit: 'ms',
      statistic: 'once',
      note: `${underWay.toFixed(1)} of ${concurrency} requests under way on average`,
    });
    assert.equal(many.total, COUNT);
    return [
      resultOf(`rotate ${one.total} secrets, one at a time`, one, 1),
      {
        ...resultOf(`rotate ${COUNT} secrets`, many, CONCURRENCY),
        ratio: { value: many.each / one.each, to: 'one at a time, each' },
        targets: [atLeast(many.underWay / CONCURRENCY, BUSY_MIN, 'of what may be under way')],
      },
    ];
  },
};
