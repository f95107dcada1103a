/**
 * What supervisor and children say to each other: one JSON object a line, over a stream socket. The supervisor's side
 * is asynchronous; a child's is synchronous, because its loop is. Both sides take the other for foreign: lines have a
 * greatest length, and what is no object ends the conversation. The fields are the reader's to check.
 */
import { readSync, writeSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { poll } from '../system/wait.ts';

export type Message = Readonly<Record<string, unknown>>;

/** What an unsealer says of thousands of certificates, which is cut to fit, as slices of operations are. */
export const LINE_BYTES_MAX = 768 * 1024;
/** What was sent and not read: a child that stands still is ended before it fills the memory. */
const UNREAD_BYTES_MAX = 4 * 1024 * 1024;
/** Messages that nobody took yet: a child that talks and talks is ended before it fills the memory. */
const WAITING_MAX = 1000;
const NEWLINE = 0x0a;

/** The other side is gone, or says what is no message. */
export class ChannelError extends Error {
  override readonly name = 'ChannelError';
}

/** Throws ChannelError. What the line says never gets into the message. */
function parse(line: Buffer): Message {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line));
  } catch {
    throw new ChannelError('a line that is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ChannelError('a line that is not an object');
  }
  return value as Message;
}

/** Bytes in, lines out, without their newline. */
class Lines {
  #chunks: Buffer[] = [];
  #bytes = 0;

  /** Throws ChannelError. */
  push(chunk: Buffer): Message[] {
    const messages: Message[] = [];
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      this.#add(chunk.subarray(from, at));
      messages.push(parse(Buffer.concat(this.#chunks)));
      this.#chunks = [];
      this.#bytes = 0;
      from = at + 1;
    }
    this.#add(chunk.subarray(from));
    return messages;
  }

  #add(bytes: Buffer): void {
    this.#bytes += bytes.length;
    if (this.#bytes > LINE_BYTES_MAX) throw new ChannelError('a line that is too long');
    if (bytes.length > 0) this.#chunks.push(Buffer.from(bytes));
  }
}

/** The supervisor's side. */
export class Channel {
  readonly #stream: Duplex;
  readonly #lines = new Lines();
  readonly #waiting: Message[] = [];
  readonly #takers: { resolve(message: Message): void; reject(error: Error): void }[] = [];
  #error: ChannelError | undefined;

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on('data', (chunk: Buffer) => this.#read(chunk));
    stream.on('end', () => this.#fail(new ChannelError('the other side is gone')));
    stream.on('close', () => this.#fail(new ChannelError('the other side is gone')));
    stream.on('error', () => this.#fail(new ChannelError('the other side is gone')));
  }

  /** Says nothing to a side that is gone: receive() tells. */
  send(message: Message): void {
    if (this.#error !== undefined) return;
    const line = `${JSON.stringify(message)}\n`;
    if (Buffer.byteLength(line) > LINE_BYTES_MAX) throw new Error('a message that is too long');
    if (this.#stream.writableLength <= UNREAD_BYTES_MAX) this.#stream.write(line);
    else this.#fail(new ChannelError('the other side does not read'));
  }

  /** Nothing more is to be said: the other side sees the end after what was sent. */
  end(): void {
    this.#stream.end();
  }

  /** The next message, in their order. Rejects with ChannelError; never after one that was taken by nobody. */
  receive(): Promise<Message> {
    const message = this.#waiting.shift();
    if (message !== undefined) return Promise.resolve(message);
    if (this.#error !== undefined) return Promise.reject(this.#error);
    return new Promise((resolve, reject) => this.#takers.push({ resolve, reject }));
  }

  close(): void {
    this.#fail(new ChannelError('closed'));
  }

  #read(chunk: Buffer): void {
    if (this.#error !== undefined) return;
    try {
      for (const message of this.#lines.push(chunk)) {
        const taker = this.#takers.shift();
        if (taker !== undefined) taker.resolve(message);
        else this.#waiting.push(message);
      }
      if (this.#waiting.length > WAITING_MAX) throw new ChannelError('more than anybody can listen to');
    } catch (error) {
      this.#fail(error as ChannelError);
    }
  }

  #fail(error: ChannelError): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    for (const taker of this.#takers.splice(0)) taker.reject(error);
    this.#stream.destroy();
  }
}

/** A child's side, on a descriptor that blocks. */
export class SyncChannel {
  readonly #fd: number;
  readonly #lines = new Lines();
  readonly #waiting: Message[] = [];
  readonly #chunk = Buffer.alloc(64 * 1024);

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Waits for the next message; undefined when the supervisor is gone. Throws ChannelError. */
  receive(): Message | undefined {
    for (;;) {
      const message = this.#waiting.shift();
      if (message !== undefined) return message;
      const got = retry(this.#fd, () => readSync(this.#fd, this.#chunk, 0, this.#chunk.length, null));
      if (got === undefined || got === 0) return undefined;
      this.#waiting.push(...this.#lines.push(this.#chunk.subarray(0, got)));
    }
  }

  /** False when the supervisor is gone. */
  send(message: Message): boolean {
    const bytes = Buffer.from(`${JSON.stringify(message)}\n`);
    for (let at = 0; at < bytes.length; ) {
      const written = retry(this.#fd, () => writeSync(this.#fd, bytes, at, bytes.length - at, null));
      if (written === undefined) return false;
      at += written;
    }
    return true;
  }
}

/** Undefined when the other side is gone. */
function retry(fd: number, call: () => number): number | undefined {
  for (;;) {
    try {
      return call();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ECONNRESET' || code === 'EPIPE') return undefined;
      if (code === 'EAGAIN') poll(fd, 10);
      else if (code !== 'EINTR') throw error;
    }
  }
}
