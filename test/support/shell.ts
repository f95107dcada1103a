/** A bash that does what it is told, wherever it is started: in a container, say. What it opens stays open between two orders. */
import { type ChildProcess, spawn } from 'node:child_process';
import { patient } from './slowness.ts';

export const BASH = ['/bin/bash', '--norc', '--noprofile'] as const;

/** Ends an answer, before the exit code. */
const END = '\u001e';
const ANSWER_MS_MAX = patient(60_000);

export interface Answer {
  readonly code: number;
  /** stdout and stderr, without white space at the end. */
  readonly text: string;
}

export class Shell {
  readonly #child: ChildProcess;
  #text = '';
  #answered: ((answer: Answer) => void) | undefined;
  #ended: ((how: string) => void) | undefined;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdin?.on('error', () => undefined);
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      this.#text += chunk;
      const [, text, code] = new RegExp(`^(.*)${END}(\\d+)\n$`, 's').exec(this.#text) ?? [];
      if (text === undefined) return;
      this.#text = '';
      this.#answered?.({ code: Number(code), text: text.trimEnd() });
    });
    child.once('close', (code, signal) => this.#ended?.(`${signal ?? code}: ${this.#text}`));
  }

  /** `command` becomes a bash that reads from its stdin. Returns when it answers; it is ended by `after`. */
  static async start(
    after: (cleanup: () => Promise<unknown>) => void,
    command: readonly string[],
  ): Promise<Shell> {
    const child = spawn(command[0] ?? '', command.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
    const closed = new Promise((resolve) => child.once('close', resolve));
    after(async () => {
      child.kill('SIGKILL');
      await closed;
    });
    const shell = new Shell(child);
    await shell.must('true');
    return shell;
  }

  /** One at a time. Throws where the shell itself ends, and ends it where no answer comes. */
  run(script: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#child.kill('SIGKILL'), ANSWER_MS_MAX);
      this.#answered = (answer) => {
        clearTimeout(timer);
        resolve(answer);
      };
      this.#ended = (how) => {
        clearTimeout(timer);
        reject(new Error(`the shell ended at ${script}: ${how}`));
      };
      const quoted = `'${script.replaceAll("'", `'\\''`)}'`;
      this.#child.stdin?.write(`eval ${quoted} </dev/null 2>&1; printf '\\036%d\\n' $?\n`);
    });
  }

  /** The same, insisting on success. */
  async must(script: string): Promise<string> {
    const { code, text } = await this.run(script);
    if (code !== 0) throw new Error(`${script} exited with ${code}: ${text}`);
    return text;
  }
}
