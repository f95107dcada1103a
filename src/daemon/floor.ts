/**
 * The lowest serial that the bundle of an instance may have from now on, kept across restarts: STATE_DIR/INSTANCE.floor.json,
 * one line of JSON, no secret in it. Without it whoever writes to the bucket could wait for a reboot and serve an old bundle.
 *
 * Invariants: whoever uses the file holds the lock of the instance; it is replaced as a whole and is on the disk before
 * the next bundle is looked at; it only ever grows, but where an operator allowed one rollback; a file that can't be
 * read or written, or does not answer, costs this protection, is said in the log and in the status, and never keeps a mount
 * from serving.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import * as z from 'zod';
import type { SerialFloor } from '../bundle/policy.ts';
import { ConfigError, errnoWords } from '../errors.ts';
import { replaceFile } from '../system/replace-file.ts';
import { FloorDisk, NO_ANSWER } from './floor-disk.ts';
import { keptDirectory } from './kept-directory.ts';
import type { Log } from './log.ts';

const BYTES_MAX = 4096;

const recordSchema = z.object({
  version: z.literal(1),
  name: z.string(),
  serial: z.int().min(1),
  /** Of the ciphertext that has this serial. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** When it went live, ISO 8601. */
  recorded: z.string(),
});

export interface FloorOptions {
  readonly directory: string;
  /** That the directory is on, where others keep theirs there too; undefined: one of its own. */
  readonly disk?: FloorDisk | undefined;
  /** Whose lock is held from load() on; validateName() let it through. */
  readonly instance: string;
  /** That the bundle must carry: a record of another name says nothing of it. */
  readonly name: string;
  /** From the settings: for instances that have no memory of their own. */
  readonly minSerial: number | undefined;
  /** Who must own the directory. */
  readonly uid: number;
  readonly log: Log;
  /** The time of day: what `recorded` is. */
  readonly clockMs: () => number;
}

type Recorded = SerialFloor & { readonly sha256: string };

export class FloorFile {
  #options: FloorOptions;
  readonly #file: string;
  #recorded: Recorded | undefined;
  /** Of the names before. */
  readonly #others = new Map<string, Recorded>();
  #problem: string | undefined;
  readonly #disk: FloorDisk;
  /** The directory is there and ours. */
  #checked = false;

  constructor(options: FloorOptions) {
    this.#options = options;
    this.#disk = options.disk ?? new FloorDisk();
    this.#file = path.join(options.directory, `${options.instance}.floor.json`);
  }

  /** What the next bundle is measured by; undefined: anything may come. */
  get floor(): SerialFloor | undefined {
    const { minSerial } = this.#options;
    if (minSerial === undefined || minSerial <= (this.#recorded?.serial ?? 0)) return this.#recorded;
    return this.floorOfRollback;
  }

  /** The same for a rollback that an operator allowed: what the settings demand stays. */
  get floorOfRollback(): SerialFloor | undefined {
    const { minSerial } = this.#options;
    return minSerial === undefined ? undefined : { serial: minSerial, from: 'setting' };
  }

  /** From the next bundle on. What is recorded of another name says nothing of one of this name. */
  configure({ name, minSerial }: Pick<FloorOptions, 'name' | 'minSerial'>): void {
    const before = this.#options.name;
    if (name !== before) {
      if (this.#recorded !== undefined) this.#others.set(before, this.#recorded);
      this.#recorded = this.#others.get(name);
      this.#others.delete(name);
    }
    this.#options = { ...this.#options, name, minSerial };
  }

  /** As the status has it. */
  describe(): { readonly serial: number | null; readonly problem: string | null } {
    return { serial: this.floor?.serial ?? null, problem: this.#problem ?? null };
  }

  /**
   * Reads what is recorded. Makes the directory where it is missing. Throws ConfigError for a directory that others could
   * write to: what they put there would be believed.
   */
  load(): Promise<void> {
    return this.#inTime(() => this.#load());
  }

  /**
   * This is live. Returns when that is on the disk, or the log says why it is not; at once where it is recorded already, so
   * that it may be said again and again, which tries again what failed.
   */
  async record(serial: number, sha256: string): Promise<void> {
    // Live it is, but no bundle of this name.
    if ([...this.#others.values()].some((other) => other.sha256 === sha256)) return;
    const before = this.#recorded;
    const isSame = before?.serial === serial && before.sha256 === sha256;
    if (before !== undefined && serial < before.serial)
      this.#options.log.warn('floor-lowered', { from: before.serial, to: serial });
    // In memory in any case.
    const live = { serial, sha256, from: 'live' } as const;
    this.#recorded = live;
    if (isSame && this.#problem === undefined) return;
    if (this.#disk.hangs) this.#fail(NO_ANSWER);
    else await this.#inTime(() => this.#save(live));
  }

  async #load(): Promise<void> {
    const { name, log } = this.#options;
    if (!(await this.#makeDirectory())) return;
    let text: string;
    try {
      text = await this.#read();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') log.warn('floor-missing', { file: this.#file });
      else this.#fail(`cannot read it: ${code ?? 'failure'}`);
      return;
    }
    const record = readRecord(text);
    // One that comes too late does not undo what went live.
    if (record?.name !== name) return this.#fail('it holds no record of this name');
    const { serial, sha256 } = record;
    this.#recorded ??= { serial, sha256, from: { file: this.#file } };
  }

  async #save(live: Recorded): Promise<void> {
    const { serial, sha256 } = live;
    const { name, clockMs } = this.#options;
    const recorded = new Date(clockMs()).toISOString();
    try {
      if (!this.#checked && !(await this.#makeDirectory())) return;
      const text = `${JSON.stringify({ version: 1, name, serial, sha256, recorded })}\n`;
      await replaceFile(this.#file, (handle) => handle.writeFile(text));
      // Another one may be live by now.
      if (this.#recorded === live) this.#problem = undefined;
    } catch (error) {
      this.#fail(`cannot write it: ${errnoWords(error)}`);
    }
  }

  async #inTime(act: () => Promise<void>): Promise<void> {
    if (!(await this.#disk.inTime(act))) this.#fail(NO_ANSWER);
  }

  #fail(problem: string): void {
    // Said once: the status has it all the while.
    if (this.#problem !== problem) this.#options.log.warn('floor-not-kept', { file: this.#file, problem });
    this.#problem = problem;
  }

  /** False where there is none and none can be made. */
  async #makeDirectory(): Promise<boolean> {
    const { directory, uid } = this.#options;
    try {
      await keptDirectory(directory, { uid, what: 'serials', flag: '--state-dir' });
    } catch (error) {
      if (error instanceof ConfigError) throw error;
      this.#fail(`cannot make its directory: ${errnoWords(error)}`);
      return false;
    }
    this.#checked = true;
    return true;
  }

  async #read(): Promise<string> {
    const handle = await open(this.#file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const buffer = Buffer.alloc(BYTES_MAX);
      const { bytesRead } = await handle.read(buffer, 0, BYTES_MAX, 0);
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await handle.close();
    }
  }
}

/** Text of a record; undefined for what is none. */
export function readRecord(text: string): z.infer<typeof recordSchema> | undefined {
  try {
    return recordSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** Where records are: /var/lib/secretsfs for root, $XDG_STATE_HOME/secretsfs or ~/.local/state/secretsfs for anybody else. */
export function stateDirectory(options: {
  readonly chosen: string | undefined;
  readonly uid: number;
  readonly env: NodeJS.ProcessEnv;
}): string {
  const { chosen, uid, env } = options;
  if (chosen !== undefined) return path.resolve(chosen);
  if (uid === 0) return '/var/lib/secretsfs';
  const home = env['XDG_STATE_HOME'] || (env['HOME'] ? path.join(env['HOME'], '.local/state') : undefined);
  if (home !== undefined) return path.join(home, 'secretsfs');
  throw new ConfigError('config-invalid', 'cannot place the record of serials: HOME is not set', {
    hint: 'give --state-dir DIR, a directory of this user',
  });
}
