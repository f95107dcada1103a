/** Promise.withResolvers(), which Node 20 has not. Its rejection need not be awaited by anybody. */
export interface Deferred {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(reason: Error): void;
}

export function deferred(): Deferred {
  let settle: { resolve(): void; reject(reason: Error): void } | undefined;
  const promise = new Promise<void>((resolve, reject) => {
    settle = { resolve, reject };
  });
  promise.catch(() => undefined);
  return { promise, resolve: () => settle?.resolve(), reject: (reason) => settle?.reject(reason) };
}
