/** As much of fuse-native 2.2.6 as we use, the parts without an underscore and those with. It has no types. */
declare module 'fuse-native' {
  /** Answers a request: a result or negative errno, then what the operation returns. */
  export type Signal = (result: number, ...values: unknown[]) => void;

  // biome-ignore lint/style/noDefaultExport: it is theirs
  export default class Fuse {
    /** Static because that is what _close() calls; replaced by ours. */
    static unmount(mountpoint: string, callback: (error: Error | null) => void): void;
    constructor(mountpoint: string, operations: Record<string, unknown>, options: { timeout: false });
    mount(callback: (error: Error | null) => void): void;
    unmount(callback: (error: Error | null) => void): void;
    protected _fuseOptions(): string;
  }
}
