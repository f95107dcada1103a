/**
 * Open files: OPEN, READ, RELEASE, LSEEK. There is no table of them. An inode number stands for one content for ever,
 * so the number that was served is the handle, and a server that takes over knows it too.
 */
import type { Generation } from '../../generation/generation.ts';
import { ERRNO } from '../../vfs/errno.ts';
import type { Place } from '../../vfs/vfs.ts';
import { COUNTER, type Context, count64, MALFORMED } from './context.ts';
import {
  FOPEN,
  LSEEK_IN,
  LSEEK_OUT,
  O_ACCMODE,
  O_TRUNC,
  OPEN_IN,
  OUT_HEADER_BYTES,
  READ_IN,
  RELEASE_IN,
  SEEK_DATA,
  SEEK_HOLE,
  WORD_BYTES,
} from './protocol.ts';
import { BODY } from './reply.ts';
import { inoOf, STAGING_NODEID } from './staging.ts';
import { ANSWER } from './stale-answers.ts';

/** A control page that was left half written looks changed for ever; nothing is overwritten before it is whole. */
const READ_ATTEMPTS = 3;

export class Files {
  readonly #context: Context;
  readonly #openFlags: number;
  readonly #fastOpen: boolean;
  readonly #dropsPages: boolean;

  constructor(context: Context) {
    this.#context = context;
    const { cache, fastOpen } = context.policy;
    this.#openFlags = cache === 'page' ? FOPEN.KEEP_CACHE : FOPEN.DIRECT_IO;
    this.#fastOpen = cache === 'page' && fastOpen;
    this.#dropsPages = cache === 'none';
  }

  open(): number {
    const { request, vfs, staleAnswers, passes, nowMs } = this.#context;
    if (!request.has(OPEN_IN.words)) return MALFORMED;
    const flags = request.argument(OPEN_IN.flags);
    if ((flags & (O_ACCMODE | O_TRUNC)) !== 0) return -ERRNO.EROFS;
    const { nodeid } = request;
    if (passes?.hasOld === true && passes.isOpen(nowMs())) {
      const generation = this.passGeneration();
      if (generation !== undefined) return this.#openIn(generation);
    }
    const { live } = vfs;
    const node = live.find(nodeid);
    if (node < 0) return this.#openElsewhere(nodeid);
    if (!live.isFile(node)) return notAFile(live, node);
    if (this.#fastOpen) return -ERRNO.ENOSYS;
    staleAnswers.opened(request.thread);
    return this.#opened(live, nodeid, this.#openFlags);
  }

  /** The generation that is not live and that the caller, in its pass, is to get the request's inode from; or undefined. */
  passGeneration(): Generation | undefined {
    const { request, vfs, passes, nowMs, standing } = this.#context;
    if (passes === undefined) return undefined;
    const path = standing.ofInode(inoOf(request.nodeid));
    const id = passes.generationOf(request.thread, path, request.uniqueLow, nowMs());
    return id === vfs.live.id ? undefined : vfs.generation(id);
  }

  /** By handle; by inode where the kernel opens by itself and knows no handle. */
  read(): number {
    const { request, reply, params, counters, generations } = this.#context;
    if (!request.has(READ_IN.words)) return MALFORMED;
    const size = request.argument(READ_IN.size);
    if (size > params.maxReadBytes || size > reply.bodyBytesMax) return MALFORMED;
    count64(counters, COUNTER.reads, COUNTER.readsHigh);
    const offset = request.argument64(READ_IN.offset);
    for (let attempt = 1; ; attempt++) {
      const place = this.#served(READ_IN.fh);
      if (place === undefined) return -ERRNO.ESTALE;
      const { generation, node } = place;
      if (!generation.isFile(node)) return -ERRNO.EISDIR;
      const wanted = Math.min(size, Math.max(0, generation.size(node) - offset));
      reply.secret(wanted);
      const got = generation.read(node, offset, wanted, reply.bytes, OUT_HEADER_BYTES);
      // A generation is taken off the list before it is overwritten: what was read then may be zeros.
      if (!generations.changed() || attempt === READ_ATTEMPTS) return got === wanted ? got : -ERRNO.EIO;
      generations.sync();
    }
  }

  release(): number {
    const { request } = this.#context;
    if (!request.has(RELEASE_IN.words)) return MALFORMED;
    if (this.#dropsPages) this.#context.dropPages(request.nodeid);
    return 0;
  }

  /** Files have no holes. */
  lseek(): number {
    const { request, reply } = this.#context;
    if (!request.has(LSEEK_IN.words)) return MALFORMED;
    const place = this.#served(LSEEK_IN.fh);
    if (place === undefined) return -ERRNO.ESTALE;
    if (!place.generation.isFile(place.node)) return -ERRNO.EINVAL;
    const whence = request.argument(LSEEK_IN.whence);
    if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return -ERRNO.EINVAL;
    const offset = request.argument64(LSEEK_IN.offset);
    const size = place.generation.size(place.node);
    if (offset >= size) return -ERRNO.ENXIO;
    reply.put64(BODY + LSEEK_OUT.offset, whence === SEEK_DATA ? offset : size);
    return LSEEK_OUT.words * WORD_BYTES;
  }

  /** The kernel checked the permissions of the inode that it knows: they must be those of what is served in its place. */
  #isAsOpen(nodeid: number, node: number): boolean {
    const { live } = this.#context.vfs;
    const { mode, uid, gid } = { mode: live.mode(node), uid: live.uid(node), gid: live.gid(node) };
    const known = this.#context.vfs.locate(inoOf(nodeid));
    if (known === undefined) return false;
    const { generation, node: old } = known;
    return generation.mode(old) === mode && generation.uid(old) === uid && generation.gid(old) === gid;
  }

  /** The live node of an inode, or of what stands where it stood; or a negative errno. */
  #standing(nodeid: number): number {
    const { vfs } = this.#context;
    const ino = inoOf(nodeid);
    const node = vfs.live.find(ino);
    return node < 0 ? vfs.successor(ino) : node;
  }

  /**
   * The live node for an open of what is not live: an alias, or what was superseded. First ESTALE, to make the VFS walk
   * the path again; whoever has no path is served what stands there now, past the page cache of the old inode.
   */
  current(nodeid: number): number {
    const { request, staleAnswers } = this.#context;
    if (nodeid === STAGING_NODEID) return -ERRNO.EACCES;
    const node = this.#standing(nodeid);
    if (node < 0) return node;
    if (staleAnswers.answer(request.thread, nodeid, request.uniqueLow) !== ANSWER.live) return -ERRNO.ESTALE;
    return this.#isAsOpen(nodeid, node) ? node : -ERRNO.EACCES;
  }

  /**
   * An open in a pass of a superseded generation. What that has not is answered ESTALE, as below: the walk that follows finds
   * what it has. Who has no path to walk gets what the inode itself holds.
   */
  #openIn(generation: Generation): number {
    const { request, vfs, staleAnswers, standing } = this.#context;
    const { nodeid, thread } = request;
    if (nodeid === STAGING_NODEID) return -ERRNO.EACCES;
    const node = standing.ofInode(inoOf(nodeid)).nodeIn(generation);
    if (node >= 0 && generation.ino(node) === nodeid) {
      if (!generation.isFile(node)) return notAFile(generation, node);
      staleAnswers.opened(thread);
      return this.#opened(generation, nodeid, this.#openFlags);
    }
    if (vfs.live.find(nodeid) < 0) return this.#openElsewhere(nodeid);
    const answer = staleAnswers.answer(thread, nodeid, request.uniqueLow);
    return answer === ANSWER.stale ? -ERRNO.ESTALE : this.#openOwn(nodeid);
  }

  #openElsewhere(nodeid: number): number {
    const { request, vfs, staleAnswers } = this.#context;
    const { live } = vfs;
    const { thread } = request;
    if (nodeid === STAGING_NODEID) return -ERRNO.EACCES;
    const node = this.#standing(nodeid);
    if (node < 0) return node;
    const answer = staleAnswers.answer(thread, nodeid, request.uniqueLow);
    if (answer === ANSWER.stale) return -ERRNO.ESTALE;
    if (answer === ANSWER.own || (thread === 0 && this.#mayBeTold(nodeid))) return this.#openOwn(nodeid);
    if (!this.#isAsOpen(nodeid, node)) return -ERRNO.EACCES;
    if (!live.isFile(node)) return notAFile(live, node);
    return this.#opened(live, live.ino(node), FOPEN.DIRECT_IO);
  }

  /**
   * Of threads that can't be seen nobody knows which was told ESTALE before. As long as the kernel may still have to be told of names
   * each gets what the inode itself holds, if that is there: `stat` says its size, and who reads so much has all of it.
   */
  #mayBeTold(nodeid: number): boolean {
    const { passes, nowMs, vfs } = this.#context;
    return passes?.isRecent(nowMs()) === true && vfs.locate(inoOf(nodeid)) !== undefined;
  }

  /** What the inode itself holds, whichever generation that is of. */
  #openOwn(nodeid: number): number {
    const ino = inoOf(nodeid);
    const place = this.#context.vfs.locate(ino);
    if (place === undefined) return -ERRNO.ESTALE;
    const { generation, node } = place;
    if (!generation.isFile(node)) return notAFile(generation, node);
    return this.#opened(generation, ino, nodeid === ino ? this.#openFlags : FOPEN.DIRECT_IO);
  }

  /** The handle is the inode that is served. */
  #opened(generation: Generation, ino: number, flags: number): number {
    const { request, reply, counters, passes, standing, nowMs, guard } = this.#context;
    if (guard?.(generation, generation.find(ino), request) === false) return -ERRNO.EACCES;
    count64(counters, COUNTER.opens, COUNTER.opensHigh);
    if (passes !== undefined) {
      const path = standing.ofInode(ino);
      passes.opened(request.thread, path, ino, generation.id, request.uniqueLow, nowMs());
    }
    return reply.opened(ino, flags);
  }

  #served(fhField: number): Place | undefined {
    const { request, vfs } = this.#context;
    const fh = request.argument64(fhField);
    return vfs.locate(fh === 0 ? inoOf(request.nodeid) : fh);
  }
}

function notAFile(generation: Generation, node: number): number {
  return generation.isDirectory(node) ? -ERRNO.EISDIR : -ERRNO.ELOOP;
}
