/** What has a name: LOOKUP, GETATTR, READLINK, ACCESS, and the changes that change nothing (staging.ts). */
import type { Generation } from '../../generation/generation.ts';
import type { Passes } from '../../vfs/consistency.ts';
import { ERRNO } from '../../vfs/errno.ts';
import { COUNTER, type Context, count64, MALFORMED, validSeconds } from './context.ts';
import {
  ACCESS_IN,
  ATTR_OUT,
  ENTRY_OUT,
  GETATTR_IN,
  OUT_HEADER_BYTES,
  RENAME_IN,
  RENAME2_IN,
  ROOT_NODEID,
  S_IFMT,
  WORD_BYTES,
} from './protocol.ts';
import { BODY, VALID_FOR_EVER_SECONDS } from './reply.ts';
import { ALIAS_BASE, inoOf, parseAlias, STAGING_MODE, STAGING_NODEID, standsAt } from './staging.ts';

const ENTRY_BYTES = ENTRY_OUT.words * WORD_BYTES;
const DOT = 0x2e;
const NO_ARGUMENTS = 0;

export class Names {
  readonly #context: Context;
  /** The alias that was looked up last, and by whom: a rename of it may follow. */
  #staged = 0;
  #stagedBy = 0;

  constructor(context: Context) {
    this.#context = context;
  }

  lookup(): number {
    const { request, vfs, staging, staleAnswers, counters, passes, nowMs } = this.#context;
    if (!request.name(NO_ARGUMENTS)) return MALFORMED;
    count64(counters, COUNTER.lookups, COUNTER.lookupsHigh);
    staleAnswers.lookedUp(request.thread);
    const { nodeid, bytes, nameStart, nameEnd } = request;
    if (nodeid > ALIAS_BASE) return this.#lookupAlias();
    if (nodeid === ROOT_NODEID && staging.isName(bytes, nameStart, nameEnd)) {
      // Not the answer that the kernel would remember: root has to find it.
      return request.uid === 0 ? this.#stagingEntry() : -ERRNO.ENOENT;
    }
    if (bytes[nameStart] === DOT && request.nameLength === 1) return this.#lookupSelf(nodeid);
    const node = vfs.lookup(nodeid, bytes, nameStart, nameEnd);
    const inPasses = passes?.hasOld === true && passes.isOpen(nowMs());
    if (inPasses) {
      const generation = this.#passGeneration(passes);
      if (generation !== undefined) return this.#lookupIn(generation, node);
    }
    if (node >= 0) {
      const ino = vfs.live.ino(node);
      if (ino === this.#staged && request.thread === this.#stagedBy) return this.#targetEntry(node);
      return this.#entry(node, ino, VALID_FOR_EVER_SECONDS);
    }
    // What somebody may still have to find is not remembered as missing.
    return node === -ERRNO.ENOENT ? this.#noEntry(inPasses ? 0 : VALID_FOR_EVER_SECONDS) : node;
  }

  getattr(): number {
    const { request, vfs, reply } = this.#context;
    if (!request.has(GETATTR_IN.words)) return MALFORMED;
    // Always of the nodeid: a handle of another inode (files.ts) must not change what the kernel thinks of this one.
    const { nodeid } = request;
    if (nodeid === STAGING_NODEID) return this.#stagingAttributes();
    const place = vfs.locate(inoOf(nodeid));
    if (place === undefined) return -ERRNO.ESTALE;
    const { generation, node, live } = place;
    const nlink = live ? generation.nlink(node) : 0;
    return reply.attr(generation, node, validSeconds(live && nodeid < ALIAS_BASE), nlink);
  }

  readlink(): number {
    const { request, vfs, reply } = this.#context;
    const place = vfs.locate(inoOf(request.nodeid));
    if (place === undefined) return -ERRNO.ESTALE;
    const { generation, node } = place;
    if (!generation.isSymlink(node)) return -ERRNO.EINVAL;
    const length = generation.targetLength(node);
    reply.secret(length);
    return generation.copyTarget(node, reply.bytes, OUT_HEADER_BYTES);
  }

  /** The kernel checks by itself (default_permissions): only a mount without it would ask. */
  access(): number {
    const { request, vfs } = this.#context;
    if (!request.has(ACCESS_IN.words)) return MALFORMED;
    const mask = request.argument(ACCESS_IN.mask);
    return vfs.access(inoOf(request.nodeid), mask, request.uid, request.gid);
  }

  /** UNLINK, RMDIR: accepted where nothing of that name and kind is; what was a directory may be a file now. */
  remove(directory: boolean): number {
    const { request, vfs } = this.#context;
    if (!request.name(NO_ARGUMENTS)) return MALFORMED;
    if (request.uid !== 0 || request.nodeid > ALIAS_BASE) return -ERRNO.EROFS;
    const { nodeid, bytes, nameStart, nameEnd } = request;
    // The kernel never asks for "." and ".."; nothing else begins with two dots and ends there.
    if (
      bytes[nameStart] === DOT &&
      (request.nameLength === 1 || (request.nameLength === 2 && bytes[nameStart + 1] === DOT))
    )
      return -ERRNO.EROFS;
    const node = vfs.lookup(nodeid, bytes, nameStart, nameEnd);
    // ESTALE: the directory is gone with all that was in it.
    if (node < 0) return node === -ERRNO.ENOENT || node === -ERRNO.ESTALE ? 0 : -ERRNO.EROFS;
    return vfs.live.isDirectory(node) === directory ? -ERRNO.EROFS : 0;
  }

  /** RENAME (`extended` false) and RENAME2: accepted where an alias is put onto the name of its inode. */
  rename(extended: boolean): number {
    const { request, vfs } = this.#context;
    const words = extended ? RENAME2_IN.words : RENAME_IN.words;
    if (!request.has(words) || !request.name(words)) return MALFORMED;
    const ino = parseAlias(request.bytes, request.nameStart, request.nameEnd);
    this.#staged = 0;
    if (!request.nextName()) return MALFORMED;
    if (request.uid !== 0 || request.nodeid !== STAGING_NODEID || ino < 0) return -ERRNO.EROFS;
    if (extended && request.argument(RENAME2_IN.flags) !== 0) return -ERRNO.EROFS;
    const { bytes, nameStart, nameEnd } = request;
    const newdir = request.argument64(RENAME_IN.newdir);
    return standsAt(vfs, ino, newdir, bytes, nameStart, nameEnd) ? 0 : -ERRNO.EROFS;
  }

  /** The superseded generation in which the caller, in its pass, is to find the name; or undefined. */
  #passGeneration(passes: Passes): Generation | undefined {
    const { request, vfs, nowMs, standing } = this.#context;
    const { nodeid, bytes, nameStart, nameEnd } = request;
    if (bytes[nameStart] === DOT && bytes[nameStart + 1] === DOT && request.nameLength === 2)
      return undefined;
    const path = standing.ofName(nodeid, bytes, nameStart, nameEnd);
    const id = passes.generationOf(request.thread, path, request.uniqueLow, nowMs());
    return id === vfs.live.id ? undefined : vfs.generation(id);
  }

  /**
   * What the name stands for in a superseded generation; nothing of that is to be remembered, the next who asks may be
   * told otherwise. `liveNode` is what is live there, or a negative errno. A directory that is new is not denied: the
   * kernel would take all that it knows below for gone.
   */
  #lookupIn(generation: Generation, liveNode: number): number {
    const { request, vfs, reply, standing, staleAnswers } = this.#context;
    const { nodeid, bytes, nameStart, nameEnd } = request;
    const { live } = vfs;
    const node = standing.ofName(nodeid, bytes, nameStart, nameEnd).nodeIn(generation);
    if (node < 0 && liveNode >= 0 && live.isDirectory(liveNode))
      return this.#entry(liveNode, live.ino(liveNode), VALID_FOR_EVER_SECONDS);
    if (node < 0) {
      // No open follows.
      staleAnswers.opened(request.thread);
      return this.#noEntry(0);
    }
    const ino = generation.ino(node);
    if (live.find(ino) >= 0) return this.#entry(live.find(ino), ino, VALID_FOR_EVER_SECONDS);
    reply.entry(BODY, generation, node, ino, 0, 0);
    return ENTRY_BYTES;
  }

  /** "." of any inode: how a file handle (NFS, open_by_handle_at) becomes an inode again. */
  #lookupSelf(nodeid: number): number {
    const { vfs, reply } = this.#context;
    const place = vfs.locate(nodeid);
    if (place === undefined) return -ERRNO.ENOENT;
    const { generation, node, live } = place;
    reply.entry(BODY, generation, node, nodeid, validSeconds(live), live ? generation.nlink(node) : 0);
    return ENTRY_BYTES;
  }

  #lookupAlias(): number {
    const { request, vfs } = this.#context;
    if (request.nodeid !== STAGING_NODEID) return -ERRNO.ESTALE;
    if (request.uid !== 0) return -ERRNO.ENOENT;
    const ino = parseAlias(request.bytes, request.nameStart, request.nameEnd);
    const node = ino < 0 ? -1 : vfs.live.find(ino);
    if (node < 0) return -ERRNO.ENOENT;
    this.#staged = request.thread === 0 ? 0 : ino;
    this.#stagedBy = request.thread;
    return this.#entry(node, ALIAS_BASE + ino, 0);
  }

  /**
   * What a rename of an alias replaces. The kernel asks for that anew (LOOKUP_RENAME_TARGET): it is told of the inode that
   * stood there before, so that it is that one's watchers that hear of its end; or that nothing was there.
   */
  #targetEntry(node: number): number {
    const { request, vfs, reply } = this.#context;
    const { nodeid, bytes, nameStart, nameEnd } = request;
    const { live, lingering } = vfs;
    const previous = lingering[lingering.length - 1];
    const directory = previous?.find(nodeid) ?? -1;
    if (previous === undefined || directory < 0 || !previous.isDirectory(directory)) return this.#noEntry(0);
    const old = previous.child(directory, bytes, nameStart, nameEnd);
    // What was of another kind was removed before.
    if (old < 0 || isKindOther(previous.mode(old), live.mode(node))) return this.#noEntry(0);
    const ino = previous.ino(old);
    // Told already: this is a repetition.
    if (live.find(ino) >= 0) return this.#entry(node, live.ino(node), VALID_FOR_EVER_SECONDS);
    reply.entry(BODY, previous, old, ino, 0, previous.nlink(old));
    return ENTRY_BYTES;
  }

  #entry(node: number, nodeid: number, valid: number): number {
    const { live } = this.#context.vfs;
    this.#context.reply.entry(BODY, live, node, nodeid, valid, live.nlink(node));
    return ENTRY_BYTES;
  }

  /** That there is nothing of this name may be remembered, until a rename puts something there. */
  #noEntry(valid: number): number {
    const { reply } = this.#context;
    reply.zero(BODY, ENTRY_OUT.words);
    reply.put64(BODY + ENTRY_OUT.entryValid, valid);
    return ENTRY_BYTES;
  }

  #stagingEntry(): number {
    const { reply } = this.#context;
    reply.zero(BODY, ENTRY_OUT.words);
    reply.put64(BODY + ENTRY_OUT.nodeid, STAGING_NODEID);
    reply.stat(BODY + ENTRY_OUT.attr, STAGING_NODEID, STAGING_MODE, 0, 0, 2);
    return ENTRY_BYTES;
  }

  #stagingAttributes(): number {
    const { reply } = this.#context;
    reply.attrHeader(0);
    reply.stat(BODY + ATTR_OUT.attr, STAGING_NODEID, STAGING_MODE, 0, 0, 2);
    return ATTR_OUT.words * WORD_BYTES;
  }
}

function isKindOther(mode: number, other: number): boolean {
  return ((mode ^ other) & S_IFMT) !== 0;
}
