/**
 * A server process for tests: builds a generation from a spec, mounts it, and does what lines on stdin say. Only
 * what it prints is seen of it, so that the test can act on the mount from outside, as it must.
 *
 *   serve.js MOUNTPOINT      the first line on stdin is the first SPEC: { entries: SpecEntry[], preserve?, allowSwap? }
 *
 * Lines in:  activate SPEC | retire | state | break | mend | gc | unmount
 * Lines out: ready INFO | activated ID | retired ID | state JSON | unmounted | bug OPERATION | error CODE MESSAGE
 */
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import type { ArchiveEntry } from '../../src/bundle/archive.ts';
import { SecretsfsError } from '../../src/errors.ts';
import { prepareMountpoint } from '../../src/fuse/mountpoint.ts';
import { mountNative, type NativeMount } from '../../src/fuse/native.ts';
import { planGeneration, writePlan } from '../../src/generation/build.ts';
import { Generation, inMemory } from '../../src/generation/generation.ts';
import { type LockedMemory, openMemoryStore } from '../../src/store/memory.ts';
import { PathVfs } from '../../src/vfs/paths.ts';

/** Content is text, base64, or so many repetitions of a byte. */
export interface SpecEntry {
  readonly path: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly text?: string;
  readonly base64?: string;
  readonly pattern?: { readonly bytes: number; readonly seed: number };
  readonly target?: string;
  /** Zeros, but for the marks. Only with the kernel driver, as the last file of the last directory. */
  readonly sparse?: { readonly bytes: number; readonly marks: readonly (readonly [number, string])[] };
}
export interface Spec {
  readonly entries: readonly SpecEntry[];
  readonly preserve?: boolean;
  readonly allowSwap?: boolean;
}

/** Cheap bytes that differ at every offset and for every seed. */
export function patternBytes({ bytes, seed }: { bytes: number; seed: number }): Buffer {
  const data = Buffer.alloc(bytes);
  let word = (seed * 2654435761 + 1) >>> 0;
  for (let i = 0; i + 4 <= bytes; i += 4) {
    word = (Math.imul(word, 1664525) + 1013904223) >>> 0;
    data.writeUInt32LE(word, i);
  }
  return data;
}

export function toEntry(spec: SpecEntry): ArchiveEntry {
  const { path, uid = 0, gid = 0 } = spec;
  if (spec.target !== undefined) return { kind: 'symlink', path, mode: 0o777, uid, gid, target: spec.target };
  if (path.endsWith('/'))
    return { kind: 'directory', path: path.slice(0, -1), mode: spec.mode ?? 0o755, uid, gid };
  const data =
    spec.pattern !== undefined
      ? patternBytes(spec.pattern)
      : spec.base64 !== undefined
        ? Buffer.from(spec.base64, 'base64')
        : Buffer.from(spec.text ?? '');
  return { kind: 'file', path, mode: spec.mode ?? 0o644, uid, gid, data };
}

async function main([mountpoint = '']: string[]): Promise<void> {
  const say = (line: string) => process.stdout.write(`${line}\n`);
  const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const first: Spec = JSON.parse((await input.next()).value ?? '{}');
  const store = await openMemoryStore({ allowSwap: first.allowSwap ?? false });
  const memories = new Map<Generation, LockedMemory>();
  let last: Generation | undefined;
  let broken = false;

  function build({ entries, preserve = false }: Spec): Generation {
    const id = (last?.id ?? 0) + 1;
    const packed = entries.map(toEntry);
    const plan = planGeneration(packed, {
      id,
      serial: id,
      nowSeconds: Math.floor(Date.now() / 1000),
      previous: last,
      preserve,
      owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
    });
    const memory = store.allocate(plan.bytes);
    writePlan(plan, memory.buffer);
    for (const entry of packed) if (entry.kind === 'file') entry.data.fill(0);
    const generation = Generation.open(memory.buffer, inMemory(memory.buffer));
    memories.set(generation, memory);
    last = generation;
    return generation;
  }

  const vfs = new PathVfs(build(first), {
    onRetired: (generation) => {
      memories.get(generation)?.release();
      memories.delete(generation);
      say(`retired ${generation.id}`);
    },
  });
  let handles = 0;
  const counts: Readonly<Record<string, number>> = { open: 1, opendir: 1, release: -1, releasedir: -1 };
  const served = new Proxy(vfs, {
    get(target, key) {
      if (broken) throw new TypeError('a bug for the test');
      const value = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        const result = value.apply(target, args);
        handles += counts[String(key)] ?? 0;
        return result;
      };
    },
  });

  const prepared = await prepareMountpoint(mountpoint);
  const mount: NativeMount = await mountNative(prepared.path, served, {
    source: 'conformance',
    onBug: (operation) => say(`bug ${operation}`),
  });
  say(`ready ${JSON.stringify({ cleared: prepared.cleared, path: prepared.path })}`);

  for (let next = await input.next(); next.done !== true; next = await input.next()) {
    const line = next.value;
    const space = line.indexOf(' ');
    const [word, rest] = space < 0 ? [line, ''] : [line.slice(0, space), line.slice(space + 1)];
    if (word === 'activate') {
      vfs.activate(build(JSON.parse(rest)));
      say(`activated ${vfs.live.id}`);
    } else if (word === 'retire') {
      for (const generation of vfs.lingering) vfs.retire(generation);
      say('done');
    } else if (word === 'state') {
      const state = {
        live: vfs.live.id,
        lingering: vfs.lingering.map((g) => g.id),
        handles,
        bytes: store.bytes,
        imageBytes: vfs.live.imageBytes,
        mounted: await mount.isMounted(),
        locked: [...memories.values()].every((m) => m.locked),
      };
      say(`state ${JSON.stringify(state)}`);
    } else if (word === 'break') {
      broken = true;
      say('broken');
    } else if (word === 'mend') {
      broken = false;
      say('mended');
    } else if (word === 'gc') {
      globalThis.gc?.();
      say('collected');
    } else if (word === 'unmount') {
      await mount.unmount().then(
        () => say('unmounted'),
        (error: SecretsfsError) => say(`error ${error.code} ${error.message}`),
      );
    }
  }
  await mount.unmount();
  // No process.exit(): nothing may be left that keeps the event loop alive.
}

// With an argument only: the test runner starts every file below test/ by itself.
if (process.argv.length > 2 && import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  main(process.argv.slice(2)).catch((error: unknown) => {
    if (!(error instanceof SecretsfsError)) throw error;
    process.stdout.write(`error ${error.code} ${error.message}\n`);
    process.exit(error.exitCode);
  });
}
