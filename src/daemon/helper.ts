/**
 * A child that answers one question after the other (prober, notifier), seen from the supervisor. It may hang for as long
 * as the server does: whoever asks gives a time limit, and an answer that comes later is dropped. A child that is gone is
 * started again: at the next question, or after a while without one.
 */
import { MountError } from '../errors.ts';
import type { Message } from './channel.ts';
import type { Child } from './children.ts';

export type Answer = Message;

/** Between starts of one that ends at once. */
const RESTART_MS_MIN = 100;
const RESTART_MS_MAX = 10_000;
/** One that lived so long begins anew. */
const STEADY_MS = 30_000;

/** Why there was no answer. */
export class NoAnswer extends Error {
  readonly reason: 'late' | 'ended';
  constructor(reason: NoAnswer['reason']) {
    super(reason);
    this.name = 'NoAnswer';
    this.reason = reason;
  }
}

interface Question {
  readonly message: Message;
  readonly timeoutMs: number;
  timer: NodeJS.Timeout | undefined;
  settle: ((answer: Answer | NoAnswer) => void) | undefined;
}

export class Helper {
  readonly #spawn: () => Child;
  readonly #onEnd: (why: string | undefined) => void;
  #child: Child | undefined;
  /** The first one was asked; nobody may wait for its answer any more. */
  readonly #questions: Question[] = [];
  #startedMs = 0;
  #hasAnswered = false;
  #restarts = -1;
  #restartMs = RESTART_MS_MIN;
  #restartTimer: NodeJS.Timeout | undefined;
  #expected = false;
  #stopped = false;

  constructor(options: {
    readonly spawn: () => Child;
    /** It ended without being told to; or could not be started, and why. */
    readonly onEnd: (why: string | undefined) => void;
  }) {
    this.#spawn = options.spawn;
    this.#onEnd = options.onEnd;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** The child that runs now has shown that it does: its start is over. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /** How often it was started again. */
  get restarts(): number {
    return Math.max(this.#restarts, 0);
  }

  /** For a status: of the child that runs, if one does. */
  states<R extends string>(role: R) {
    const pid = this.#child?.pid;
    return pid === undefined ? [] : [{ role, pid, startedMs: this.#startedMs, restarts: this.restarts }];
  }

  /** Starts it now, so that the first question does not wait for it. */
  start(): void {
    if (this.#child === undefined && !this.#stopped) this.#begin();
  }

  /** Throws NoAnswer, or MountError for an answer that says no. */
  async ask(message: Message, timeoutMs: number): Promise<Answer> {
    if (this.#stopped) throw new NoAnswer('ended');
    this.start();
    if (this.#child === undefined) throw new NoAnswer('ended');
    const answer = await new Promise<Answer | NoAnswer>((resolve) => {
      const question: Question = { message, timeoutMs, timer: undefined, settle: undefined };
      question.settle = (settled) => {
        clearTimeout(question.timer);
        question.settle = undefined;
        resolve(settled);
      };
      this.#questions.push(question);
      if (this.#questions.length === 1) this.#send(question);
    });
    if (answer instanceof NoAnswer) throw answer;
    if (answer['ok'] !== true)
      throw new MountError('mount-failed', `cannot tell the kernel: ${said(answer)}`);
    return answer;
  }

  /** Ends it. A child in a call that nothing interrupts goes when that call does. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#restartTimer);
    this.#child?.kill('SIGKILL');
    this.#drop();
  }

  /** For one that does not answer although the server does. */
  kill(): void {
    this.#child?.kill('SIGKILL');
  }

  /** Goes over to the program that is on disk now. What it was asked is answered by nobody. */
  restart(): void {
    this.#expected = this.#child !== undefined;
    this.#restartMs = RESTART_MS_MIN;
    this.#child?.kill('SIGKILL');
  }

  #begin(): void {
    clearTimeout(this.#restartTimer);
    let child: Child;
    try {
      child = this.#spawn();
    } catch (error) {
      this.#onEnd((error as Error).message);
      this.#beginLater();
      return;
    }
    this.#child = child;
    this.#startedMs = Date.now();
    this.#restarts += 1;
    void this.#listen(child);
    void child.exited.then(() => {
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#hasAnswered = false;
      this.#drop();
      if (this.#stopped) return;
      if (!this.#expected) this.#onEnd(undefined);
      this.#expected = false;
      if (Date.now() - this.#startedMs > STEADY_MS) this.#restartMs = RESTART_MS_MIN;
      this.#beginLater();
    });
  }

  #beginLater(): void {
    clearTimeout(this.#restartTimer);
    this.#restartTimer = setTimeout(() => this.start(), this.#restartMs);
    this.#restartMs = Math.min(2 * this.#restartMs, RESTART_MS_MAX);
  }

  async #listen(child: Child): Promise<void> {
    try {
      for (;;) this.#answered(await child.channel.receive());
    } catch {
      // It is gone, or says what is no message: it goes on only with somebody to talk to.
      child.kill('SIGKILL');
    }
  }

  #answered(answer: Answer): void {
    this.#hasAnswered = true;
    this.#questions.shift()?.settle?.(answer);
    // What nobody waits for any more is not asked either.
    while (this.#questions[0] !== undefined && this.#questions[0].settle === undefined)
      this.#questions.shift();
    const next = this.#questions[0];
    if (next !== undefined) this.#send(next);
  }

  /** Its time begins now: what stands before it in the queue may take long. */
  #send(question: Question): void {
    question.timer = setTimeout(() => question.settle?.(new NoAnswer('late')), question.timeoutMs);
    this.#child?.channel.send(question.message);
  }

  #drop(): void {
    for (const question of this.#questions.splice(0)) question.settle?.(new NoAnswer('ended'));
  }
}

/** A child's own word for what went wrong: an errno name, or nothing. */
function said(answer: Answer): string {
  const errno = answer['errno'];
  return typeof errno === 'string' && /^E[A-Z0-9]{1,20}$/.test(errno) ? errno : 'it failed';
}
