import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { type FileRule, whyNotRuled } from '../../../src/checks/ownership.ts';
import { ChannelError } from '../../../src/daemon/channel.ts';
import { parseToServer } from '../../../src/daemon/server-channel.ts';
import { ServerGenerations } from '../../../src/daemon/server-generations.ts';
import { ServerLog } from '../../../src/daemon/server-log.ts';
import { warmUp } from '../../../src/daemon/server-warm-up.ts';
import { whyNotPrivate } from '../../../src/generation/succession.ts';
import { type Image, ImageError, openImage } from '../../../src/store/image.ts';
import {
  type Control,
  decodeControl,
  decodeStatus,
  encodeControl,
  SHARED_BYTES,
} from '../../../src/store/shared.ts';
import { Vfs } from '../../../src/vfs/vfs.ts';
import { contentOf, directory, file, imageOf, Lineage, nodeAt, symlink } from '../../support/entries.ts';

const CONTROL: Control = {
  live: 1,
  candidate: 0,
  handOver: false,
  closed: false,
  preserve: true,
  lingering: [],
  fuseMinor: 45,
  flags: 0,
  flags2: 0,
  maxReadBytes: 1048576,
  cachePolicy: 'page',
  fastOpen: false,
  consistencyWindowMs: 2000,
  resend: true,
  token: new Uint8Array(16),
};

/** Four generations in a store of memory, and the two pages. */
function store(
  first: Partial<Control> = {},
  entry = (id: number) => file('f', `${id}`),
  rules: FileRule[] = [],
) {
  const lineage = new Lineage();
  const images = new Map<number, Image>();
  const closed: number[] = [];
  const opened: number[] = [];
  for (let id = 1; id <= 4; id++) {
    const generation = lineage.next([directory('', rules.length > 0 ? 0o711 : 0o700), entry(id)], {
      preserve: true,
    });
    images.set(id, { generation, close: () => closed.push(id) });
  }
  const control = new Uint32Array(SHARED_BYTES / 4);
  const status = new Uint32Array(SHARED_BYTES / 4);
  let sequence = 0;
  const write = (change: Partial<Control>) =>
    control.set(encodeControl({ ...CONTROL, ...change }, ++sequence));
  write(first);
  const refused: string[] = [];
  const start = () => {
    const decoded = decodeControl(control);
    assert.ok(decoded !== undefined);
    return new ServerGenerations(
      {
        control,
        open: (id) => {
          opened.push(id);
          const image = images.get(id);
          if (image === undefined) throw new ImageError('unreadable', undefined);
          return image;
        },
        whyNotAllowed: rules.length === 0 ? whyNotPrivate : (generation) => whyNotRuled(generation, rules),
        onRefused: (id, why) => refused.push(`${id} ${why}`),
      },
      decoded,
    );
  };
  const reported = () => decodeStatus(new Uint8Array(status.buffer));
  return { start, write, control, status, reported, images, closed, opened, refused };
}

const ids = ({ vfs }: ServerGenerations) => [vfs.live.id, vfs.lingering.map(({ id }) => id)];

test('a server begins with all generations that there are', () => {
  const generations = store({ live: 3, lingering: [1, 2], candidate: 4 }).start();
  assert.deepEqual(ids(generations), [3, [1, 2]]);
  assert.equal(generations.changed(), false);
});

test('a server that can’t read what is live does not begin', () => {
  assert.throws(() => store({ live: 9 }).start(), ImageError);
});

test('generations are loaded once, activated without loading, and closed when they are gone', () => {
  const { start, write, closed, opened } = store();
  const generations = start();
  const step = (change: Partial<Control>) => {
    write(change);
    assert.equal(generations.changed(), true);
    generations.sync();
    assert.equal(generations.changed(), false);
    return ids(generations);
  };
  assert.deepEqual(step({ live: 1, candidate: 2 }), [1, []]);
  assert.deepEqual(step({ live: 2, lingering: [1] }), [2, [1]]);
  assert.deepEqual(step({ live: 2, lingering: [1], candidate: 3 }), [2, [1]]);
  assert.deepEqual(closed, []);
  assert.deepEqual(step({ live: 3, lingering: [1, 2] }), [3, [1, 2]]);
  assert.deepEqual(step({ live: 3, lingering: [2] }), [3, [2]]);
  assert.deepEqual(closed, [1]);
  assert.deepEqual(step({ live: 3 }), [3, []]);
  assert.deepEqual(closed, [1, 2]);
  assert.deepEqual(opened, [1, 2, 3]);
});

test('of a retired generation the names are kept for listings that began in it', () => {
  const { start, write } = store({ live: 1 });
  const generations = start();
  write({ live: 2 });
  generations.sync();
  assert.equal(generations.listed(1)?.id, 1);
  assert.equal(generations.listed(2), undefined, 'it is live');
  write({ live: 2, candidate: 3 });
  generations.sync();
  write({ live: 2 });
  generations.sync();
  assert.equal(generations.listed(3), undefined, 'it never was');
});

test('a candidate that is given up is closed', () => {
  const { start, write, closed } = store({ candidate: 2 });
  const generations = start();
  write({});
  generations.sync();
  assert.deepEqual(closed, [2]);
});

test('nothing is reported before the server’s turn; then the sequence, and what was loaded or refused', () => {
  const { start, write, status, reported, refused } = store({ candidate: 2 });
  const generations = start();
  assert.ok(status.every((word) => word === 0));
  status[0] = 0x53534653;
  status[1] = 1;
  generations.report(status);
  assert.deepEqual([reported()?.sequence, reported()?.candidateLoaded], [1, 2]);
  write({ candidate: 9 });
  generations.sync();
  const { sequence, candidateLoaded, candidateRefused, refusedWhy } = reported() ?? {};
  assert.deepEqual([sequence, candidateLoaded, candidateRefused, refusedWhy], [2, 0, 9, 'unreadable']);
  assert.deepEqual(refused, ['9 unreadable']);
});

test('what was live stays live where the next can’t be read, and is not tried with every request', () => {
  const { start, write, opened, closed } = store();
  const generations = start();
  write({ live: 9, lingering: [1] });
  generations.sync();
  assert.equal(generations.vfs.live.id, 1);
  write({ live: 9, lingering: [] });
  generations.sync();
  assert.equal(generations.vfs.live.id, 1);
  assert.deepEqual(opened, [1, 9]);
  assert.deepEqual(closed, []);
});

test('a lingering generation that is gone is left out', () => {
  const generations = store({ live: 3, lingering: [9, 2] }).start();
  assert.deepEqual(ids(generations), [3, [2]]);
});

test('a page that is being written changes nothing yet', () => {
  const { start, write, control } = store();
  const generations = start();
  write({ live: 2, lingering: [1] });
  const begun = control.slice();
  // Word 87 is changed first: another write has begun.
  control[87] = 77;
  generations.sync();
  assert.equal(generations.vfs.live.id, 1);
  assert.equal(generations.changed(), true);
  control.set(begun);
  generations.sync();
  assert.equal(generations.vfs.live.id, 2);
});

function imageFile(t: TestContext, spoil: (image: Buffer) => Buffer = (image) => image) {
  const directory = mkdtempSync(path.join(tmpdir(), 'secretsfs-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const lineage = new Lineage();
  lineage.next([file('f', 'content'), symlink('l', 'f')]);
  const name = path.join(directory, 'gen-1');
  writeFileSync(name, spoil(imageOf(lineage.plan as NonNullable<Lineage['plan']>)));
  return name;
}

test('openImage() reads metadata at once and contents when they are asked for', (t) => {
  const name = imageFile(t);
  const { generation, close } = openImage(name, 1);
  const node = nodeAt(generation, 'f');
  assert.equal(contentOf(generation, node).toString(), 'content');
  truncateSync(name, 4096);
  assert.equal(generation.read(node, 0, 7, Buffer.alloc(7), 0), 0, 'gone, and nothing worse');
  assert.equal(generation.target(nodeAt(generation, 'l')), 'f');
  close();
  assert.throws(() => generation.read(node, 0, 7, Buffer.alloc(7), 0), { code: 'EBADF' });
});

test('openImage() says why an image can’t be served', (t) => {
  const reason = (name: string, id = 1) => {
    try {
      openImage(name, id).close();
      return 'none';
    } catch (error) {
      return error instanceof ImageError ? error.reason : error;
    }
  };
  const version = imageFile(t, (image) => {
    image.writeUInt32LE(2, 8);
    return image;
  });
  assert.equal(reason(version), 'version');
  assert.equal(reason(imageFile(t, (image) => image.subarray(0, 60))), 'invalid');
  assert.equal(reason(imageFile(t, (image) => image.subarray(0, 200))), 'invalid');
  assert.equal(reason(imageFile(t), 2), 'invalid', 'another generation’s name');
  assert.equal(reason('/nonexistent/gen-1'), 'unreadable');
  assert.equal(reason(imageFile(t)), 'none');
});

test('parseToServer() takes the two orders that there are', () => {
  assert.deepEqual(parseToServer({ go: true, skip: true }), { go: true, skip: true });
  assert.deepEqual(parseToServer({ load: true }), { load: true });
  for (const nonsense of [{}, { go: true }, { go: 1, skip: false }, { load: 1 }, { stop: true }]) {
    assert.throws(() => parseToServer(nonsense), ChannelError);
  }
});

test('the server’s log lines are JSON with a level, a time and an event', () => {
  const lines: string[] = [];
  const log = new ServerLog((line) => lines.push(line) > 0);
  log.malformed(3, 41, 1);
  log.unknown(77, 2);
  log.bug('Error at place', 1);
  log.replyRefused(22, 15);
  log.generationRefused(5, 'version');
  assert.ok(lines.every((line) => line.endsWith('\n')));
  const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    parsed.map(({ level, event }) => [level, event]),
    [
      [40, 'malformed-request'],
      [40, 'unknown-request'],
      [50, 'bug'],
      [50, 'reply-refused'],
      [50, 'generation-unreadable'],
    ],
  );
  assert.ok(parsed.every(({ time, process }) => /^\d{4}-.*Z$/.test(String(time)) && process === 'server'));
});

test('warmUp() leaves nothing in the reply buffer, for every policy and every tree', () => {
  const params = { minor: 45, flags: 0, flags2: 0, maxReadBytes: 65536 };
  const reply = Buffer.from(new ArrayBuffer(65536 + 16));
  for (const entries of [[file('f', 'SECRET'.repeat(1000))], []]) {
    const vfs = new Vfs(new Lineage().next(entries));
    let reads = 0;
    const { read } = vfs.live;
    vfs.live.read = (...args) => {
      reads++;
      return read.apply(vfs.live, args);
    };
    for (const fastOpen of [false, true]) warmUp(vfs, params, { cache: 'page', fastOpen }, reply);
    assert.equal(reads > 100, entries.length > 0);
    assert.ok(!reply.includes('SECRET'));
  }
});

test('owners and modes that the config gives nobody are refused, the first generation’s too', () => {
  const wide = (id: number) => ({ ...file('f', `${id}`, id === 2 ? 0o644 : 0o600), uid: id === 3 ? 5 : 0 });
  for (const candidate of [2, 3]) {
    const { write, start, refused } = store({ preserve: false }, wide);
    const generations = start();
    write({ preserve: false, candidate });
    generations.sync();
    assert.deepEqual(refused, [`${candidate} invalid`]);
  }
  assert.throws(() => store({ preserve: false, live: 2 }, wide).start(), ImageError);
  store({ preserve: true, live: 2 }, wide).start();
  // What a rule gives is served; the same of another path, or more of it, is not.
  const given = (match: string, mode = 0o644) => store({ preserve: false, live: 2 }, wide, [{ match, mode }]);
  given('f').start();
  assert.throws(() => given('g').start(), ImageError);
  assert.throws(() => given('f', 0o640).start(), ImageError);
});
