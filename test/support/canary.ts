/**
 * Runs commands that have secrets in their hands, and looks at what they leave where others can look: arguments and
 * environments of processes, files, output and errors. Each runs under strace, which sees what is there for a moment only.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { findCommand } from '../../src/cli/commands.ts';
import { type Bench, type Outcome, run } from './program.ts';
import { openedForWriting } from './trace.ts';

const MAKES = 'open,openat,openat2,creat,memfd_create,mknod,mknodat,link,linkat';
const WRITES = 'write,writev,pwrite64,pwritev,pwritev2';
/** -y: what a descriptor is of. */
const STRACE = `--follow-forks --seccomp-bpf --output-separately -v -y -s 1000000 -e trace=execve,${MAKES},${WRITES}`;

interface Seen extends Outcome {
  /** Arguments and environment of every program that was begun: one text a program. Who was not found never had any. */
  readonly programs: readonly string[];
  /** Every write to something that has a name: where to, and what. */
  readonly writes: readonly { readonly file: string; readonly text: string }[];
  /** Every file that was opened for writing, or made. */
  readonly opened: readonly string[];
}

export interface Watching {
  readonly stdin?: Uint8Array;
  /** What it exits with, if not 0. */
  readonly code?: number;
  /** Where a content is meant to be: on stdout, or in the environment of /usr/bin/true. */
  readonly shows?: 'stdout' | 'environment';
  /** Files that have a content or a key when it has ended. */
  readonly makes?: readonly string[];
  /** Files that had one, and are gone when it has ended. */
  readonly removes?: readonly string[];
  /** A secret that it makes, once it has ended. */
  readonly learns?: () => Promise<Buffer>;
}

export class Canary {
  readonly #bench: Bench;
  readonly #needles: string[];
  readonly #credentials: readonly string[];
  readonly #meant: Set<string>;
  readonly #commands: Set<string>;

  /**
   * `secrets`: contents and keys. `credential`: may be in an environment, and nowhere else. `files`: below the bench's
   * directory, those that have one of them. `commands`: takes the names of what was run.
   */
  constructor(
    bench: Bench,
    given: {
      readonly secrets: readonly Buffer[];
      readonly credential?: Buffer;
      readonly files: readonly string[];
      readonly commands: Set<string>;
    },
  ) {
    this.#bench = bench;
    this.#needles = given.secrets.flatMap(forms);
    this.#credentials = given.credential === undefined ? [] : forms(given.credential);
    this.#meant = new Set(given.files);
    this.#commands = given.commands;
  }

  /** Runs `line`, words between single spaces, and insists that nothing is where it is not meant to be; returns stdout. */
  async run(line: string, watching: Watching = {}): Promise<string> {
    const args = line.split(' ');
    const name = findCommand(args).known?.name;
    assert.ok(name !== undefined, line);
    this.#commands.add(name);
    const { code = 0, shows, makes = [], removes = [], learns } = watching;
    const seen = await this.#traced(args, watching.stdin);
    assert.equal(seen.code, code, `${line}: ${seen.stderr}`);
    if (learns !== undefined) this.#needles.push(...forms(await learns()));
    for (const each of makes) this.#meant.add(each);
    for (const each of removes) this.#meant.delete(each);

    assert.ok(!this.#has(seen.stderr), `${line}: it is in an error`);
    assert.equal(this.#has(seen.stdout), shows === 'stdout', `${line}: stdout`);
    this.#checkPrograms(line, seen.programs, shows === 'environment');
    // A temporary name beside the file that is made, for a moment.
    const places = [...makes, ...removes].map((file) => path.dirname(this.#bench.path(file)));
    const isPlace = (file: string) =>
      places.includes(path.dirname(file)) ||
      makes.some((each) => file.startsWith(`${this.#bench.path(each)}/`));
    const written = seen.writes.filter(({ file, text }) => this.#has(text) && !isPlace(file));
    assert.deepEqual(
      written.map(({ file }) => file),
      [],
      `${line}: it was written`,
    );
    const isOurs = (file: string) =>
      file.startsWith(`${this.#bench.directory}/`) || /^\/(dev|proc)\//.test(file);
    assert.deepEqual(
      seen.opened.filter((file) => !isOurs(file)),
      [],
      `${line}: files`,
    );
    assert.deepEqual(await this.#filesWith(), [...this.#meant].sort(), line);
    return seen.stdout;
  }

  #has(text: string, needles: readonly string[] = [...this.#needles, ...this.#credentials]): boolean {
    return needles.some((needle) => text.includes(needle));
  }

  #checkPrograms(line: string, programs: readonly string[], isMeant: boolean): void {
    assert.ok(programs.length > 0, line);
    for (const each of programs) {
      const argv = each.slice(0, each.indexOf('], ['));
      assert.ok(!this.#has(argv), `${line}: arguments`);
    }
    const showing = programs.filter((each) => this.#has(each, this.#needles));
    assert.equal(showing.length > 0, isMeant, `${line}: environment`);
    // Found where it is meant to be: so it would have been found elsewhere.
    for (const each of showing) assert.match(each, /^execve\("[^"]*\/true", \["true"\],/, line);
  }

  async #traced(args: readonly string[], stdin: Uint8Array | undefined): Promise<Seen> {
    const { directory: cwd, env, program } = this.#bench;
    const output = this.#bench.path('traces', 'trace');
    await mkdir(path.dirname(output), { recursive: true });
    const strace = [...STRACE.split(' '), '-o', output, process.execPath, program];
    const options = { env, cwd, ...(stdin === undefined ? {} : { stdin }) };
    const outcome = await run('strace', [...strace, ...args], options);
    const directory = path.dirname(output);
    const lines = readdirSync(directory).flatMap((name) =>
      readFileSync(path.join(directory, name), 'latin1').split('\n'),
    );
    const programs = lines.filter((line) => line.startsWith('execve(') && line.endsWith(' = 0'));
    const opened = openedForWriting(output)
      .filter(({ call }) => MAKES.split(',').includes(call))
      .map((each) => path.resolve(cwd, each.path));
    const writes = lines.flatMap((text) => {
      const file = /^p?write[v264]*\(\d+<(\/[^>]*)>/.exec(text)?.[1];
      return file === undefined ? [] : [{ file, text }];
    });
    await run('rm', ['-r', directory]);
    return { ...outcome, programs, writes, opened };
  }

  /** Files of the bench that have one of the secrets in them. */
  async #filesWith(): Promise<string[]> {
    const { directory } = this.#bench;
    const entries = await readdir(directory, { recursive: true, withFileTypes: true });
    const files = entries
      .filter((entry) => entry.isFile())
      .map((entry) => path.join(entry.parentPath, entry.name));
    const found: string[] = [];
    for (const file of files) {
      if (this.#has(await readFile(file, 'latin1'))) found.push(path.relative(directory, file));
    }
    return found.sort();
  }
}

/** As it is, and as programs write it: strace shows a buffer as text where it is text. */
function forms(secret: Buffer): string[] {
  // The last characters of base64 depend on what follows.
  const whole = secret.subarray(0, secret.length - (secret.length % 3));
  return [
    secret.toString('latin1'),
    secret.toString('hex'),
    whole.toString('base64'),
    whole.toString('base64url'),
  ];
}
