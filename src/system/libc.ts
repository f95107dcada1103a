/**
 * The C library through koffi: the one place that loads it. Every module here that makes system calls binds what it
 * needs when it is first called, so that commands which only pack and unpack also run where koffi can't be loaded.
 */
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { MountError } from '../errors.ts';

type Koffi = typeof import('koffi');

/** A bound function. Arguments are what its signature says: numbers, bigints for pointers, Buffers, strings or null. */
// biome-ignore lint/suspicious/noExplicitAny: koffi checks arguments against the signature at run time
export type NativeFunction = (...values: any[]) => any;

/** A call that the kernel refused. */
export class SystemCallError extends Error {
  readonly call: string;
  readonly errno: number;
  constructor(call: string, errno: number) {
    super(`${call} failed: ${errnoName(errno)}`);
    this.name = 'SystemCallError';
    this.call = call;
    this.errno = errno;
  }

  /** As Node names it: "ENOENT". */
  get code(): string {
    return errnoName(this.errno);
  }
}

/** A few dozen are bound in all, each in under 0.1 ms. */
export class Libc {
  readonly koffi: Koffi;
  readonly #library: ReturnType<Koffi['load']>;

  constructor(koffi: Koffi) {
    this.koffi = koffi;
    this.#library = koffi.load(null);
  }

  /** `signature` as in C. Throws where libc has no such function. */
  bind(signature: string): NativeFunction {
    return this.#library.func(signature) as NativeFunction;
  }

  /** Of the call that failed last: to be asked for before anything else is called. */
  failure(call: string): SystemCallError {
    return new SystemCallError(call, this.koffi.errno());
  }

  /** For calls that answer 0 or -1. */
  check(call: string, result: number): void {
    if (result !== 0) throw this.failure(call);
  }

  /** For calls that answer what they made, or -1. */
  made(call: string, result: number | bigint): number {
    const value = Number(result);
    if (value < 0) throw this.failure(call);
    return value;
  }
}

let loaded: Libc | undefined;

/** Throws MountError driver-missing where koffi has no build for this machine. */
export function libc(): Libc {
  loaded ??= load();
  return loaded;
}

function load(): Libc {
  try {
    // Not import: that would make everything asynchronous that needs a system call.
    return new Libc(createRequire(import.meta.url)('koffi') as Koffi);
  } catch (cause) {
    throw new MountError('driver-missing', `cannot load koffi for ${process.platform} ${process.arch}`, {
      hint: 'mounting needs Linux and the npm package koffi: reinstall with npm install',
      cause,
    });
  }
}

/** The function of this signature, bound at its first call. Not for what is called in a hot loop. */
export function late(signature: string): NativeFunction {
  let bound: NativeFunction | undefined;
  return (...values) => {
    bound ??= libc().bind(signature);
    return bound(...values);
  };
}

export function errnoName(errno: number): string {
  const known = Object.entries(constants.errno).find(([, value]) => value === errno);
  return known?.[0] ?? `errno ${errno}`;
}
