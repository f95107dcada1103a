/**
 * A filesystem by npm's fuse-native as its users write one: the files of a directory, in memory, by path. libfuse 2's
 * caches are on, as only files that never change allow. Nothing of ours is in it.
 *
 *   node stock-fuse-native.js SOURCE MOUNTPOINT
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import Fuse from 'fuse-native';

const ENOENT = -2;
const FOREVER_SECONDS = 1_000_000;

interface Node {
  readonly attributes: object;
  readonly data?: Buffer;
  readonly names?: string[];
}
type Answer = (result: number, value?: unknown) => void;

const [source = '', mountpoint = ''] = process.argv.slice(2);
const nodes = new Map<string, Node>();

function load(name: string): void {
  const from = path.join(source, name);
  const { mode, mtime, atime, ctime, uid, gid, nlink } = statSync(from);
  const directory = statSync(from).isDirectory();
  const names = directory ? readdirSync(from) : undefined;
  const data = directory ? undefined : readFileSync(from);
  nodes.set(name, {
    attributes: { mode, mtime, atime, ctime, uid, gid, nlink, size: data?.length ?? 4096 },
    ...(data === undefined ? {} : { data }),
    ...(names === undefined ? {} : { names }),
  });
  for (const child of names ?? []) load(path.join(name, child));
}
load('/');

const operations = {
  getattr(name: string, answer: Answer) {
    const node = nodes.get(name);
    return node === undefined ? answer(ENOENT) : answer(0, node.attributes);
  },
  readdir(name: string, answer: Answer) {
    const names = nodes.get(name)?.names;
    return names === undefined ? answer(ENOENT) : answer(0, names);
  },
  open(name: string, _flags: number, answer: Answer) {
    return nodes.has(name) ? answer(0, 1) : answer(ENOENT);
  },
  read(name: string, _fd: number, target: Buffer, length: number, position: number, answer: Answer) {
    return answer(nodes.get(name)?.data?.copy(target, 0, position, position + length) ?? ENOENT);
  },
  release(_name: string, _fd: number, answer: Answer) {
    return answer(0);
  },
};

const options = {
  timeout: false,
  allowOther: true,
  defaultPermissions: true,
  kernelCache: true,
  entryTimeout: FOREVER_SECONDS,
  attrTimeout: FOREVER_SECONDS,
} as const;
const fuse = new Fuse(mountpoint, operations, options);
fuse.mount((error) => {
  if (error !== null && error !== undefined) throw error;
});
const end = () => fuse.unmount(() => process.exit(0));
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, end);
