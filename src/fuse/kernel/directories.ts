/**
 * Listings: OPENDIR, READDIR, READDIRPLUS. The handle is the generation's id, so that a listing goes on in the generation
 * it began in, also when that is retired: names are kept for longer than contents. After so many retirements that even they
 * are gone, or in a server that took over, it goes on in the live one, at the same position.
 *
 * Offsets: 0 is before ".", 1 before "..", 2 before the first child; an entry's offset is that of what follows it.
 */
import type { Generation } from '../../generation/generation.ts';
import { ERRNO } from '../../vfs/errno.ts';
import { type Context, MALFORMED } from './context.ts';
import type { Files } from './files.ts';
import {
  DIRENT,
  DIRENT_ALIGN_BYTES,
  DIRENT_TYPE_SHIFT,
  DIRENTPLUS,
  OPEN_IN,
  OUT_HEADER_BYTES,
  READ_IN,
  S_IFMT,
  WORD_BYTES,
} from './protocol.ts';
import { VALID_FOR_EVER_SECONDS } from './reply.ts';

const DOT = 0x2e;
/** "." and "..". */
const DOTS = 2;

export class Directories {
  readonly #context: Context;
  readonly #files: Files;

  constructor(context: Context, files: Files) {
    this.#context = context;
    this.#files = files;
  }

  /** Never cached by the kernel: whether its copy is still right it would tell by mtime, in whole seconds. */
  open(): number {
    const { request, vfs, reply } = this.#context;
    if (!request.has(OPEN_IN.words)) return MALFORMED;
    const { nodeid } = request;
    const { live } = vfs;
    let node = live.find(nodeid);
    if (node < 0) {
      const generation = this.#files.passGeneration();
      const own = generation?.find(nodeid) ?? -1;
      if (generation?.isDirectory(own) === true) return reply.opened(generation.id, 0);
      node = this.#files.current(nodeid);
    }
    if (node < 0) return node;
    return live.isDirectory(node) ? reply.opened(live.id, 0) : -ERRNO.ENOTDIR;
  }

  /** READDIR, or READDIRPLUS with what LOOKUP would answer for each name. */
  read(plus: boolean): number {
    const { request, reply, params, vfs } = this.#context;
    if (!request.has(READ_IN.words)) return MALFORMED;
    const size = Math.min(request.argument(READ_IN.size), params.maxReadBytes, reply.bodyBytesMax);
    const offset = request.argument64(READ_IN.offset);
    // Ids are below 2^32: the handle's high word is 0.
    const generation = this.#generation(request.argument64(READ_IN.fh));
    let node = generation.find(request.nodeid);
    let of = generation;
    if (node < 0) {
      of = vfs.live;
      node = of.find(request.nodeid);
      if (node < 0) node = vfs.successor(request.nodeid);
      if (node < 0) return node;
    }
    if (!of.isDirectory(node)) return -ERRNO.ENOTDIR;
    return this.#fill(of, node, offset, size, plus);
  }

  #generation(id: number): Generation {
    const { live, lingering } = this.#context.vfs;
    if (live.id !== id) {
      for (let i = lingering.length - 1; i >= 0; i--) {
        const generation = lingering[i] as Generation;
        if (generation.id === id) return generation;
      }
    }
    return live.id === id ? live : (this.#context.generations.listed(id) ?? live);
  }

  #fill(generation: Generation, directory: number, offset: number, size: number, plus: boolean): number {
    const total = DOTS + generation.childCount(directory);
    const first = generation.firstChild(directory);
    const isLive = generation === this.#context.vfs.live;
    const fixed = (plus ? DIRENTPLUS.words : DIRENT.words) * WORD_BYTES;
    let used = 0;
    for (let position = offset; position < total; position++) {
      const node =
        position >= DOTS
          ? first + position - DOTS
          : position === 0
            ? directory
            : generation.parent(directory);
      const nameBytes = position >= DOTS ? generation.nameLength(node) : position + 1;
      const bytes = align(fixed + nameBytes);
      if (used + bytes > size) break;
      const start = (OUT_HEADER_BYTES + used) / WORD_BYTES;
      // Only live names may be remembered by the kernel, and it wants no nodeid for "." and "..".
      if (plus) this.#entry(start, generation, node, isLive && position >= DOTS);
      this.#dirent(start + (plus ? DIRENTPLUS.dirent : 0), generation, node, position, nameBytes);
      used += bytes;
    }
    return used;
  }

  #entry(at: number, generation: Generation, node: number, known: boolean): void {
    const { reply } = this.#context;
    if (known) {
      const ino = generation.ino(node);
      reply.entry(at, generation, node, ino, VALID_FOR_EVER_SECONDS, generation.nlink(node));
    } else {
      reply.zero(at, DIRENTPLUS.dirent);
    }
  }

  #dirent(at: number, generation: Generation, node: number, position: number, nameBytes: number): void {
    const { reply } = this.#context;
    const { words, bytes } = reply;
    reply.put64(at + DIRENT.ino, generation.ino(node));
    reply.put64(at + DIRENT.off, position + 1);
    words[at + DIRENT.namelen] = nameBytes;
    words[at + DIRENT.type] = (generation.mode(node) & S_IFMT) >> DIRENT_TYPE_SHIFT;
    const name = (at + DIRENT.words) * WORD_BYTES;
    if (position >= DOTS) generation.copyName(node, bytes, name);
    else bytes.fill(DOT, name, name + nameBytes);
    bytes.fill(0, name + nameBytes, align(name + nameBytes));
  }
}

function align(bytes: number): number {
  return (bytes + DIRENT_ALIGN_BYTES - 1) & -DIRENT_ALIGN_BYTES;
}
