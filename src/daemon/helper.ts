/**
 * A child that answers one question after the other (prober, teller, notifier), seen from the supervisor. It may hang for as long
 * as the server does: whoever asks gives a time limit, and an answer that comes later is dropped. What waits behind others has
 * their time besides, and no more than that: nobody waits for ever. A child that is gone is
 * started again: at the next question, or after a while without one; after two that died in a row, only after a while.
 */
import { MountError } from '../errors.ts';
import type { Message } from './channel.ts';
import type { Child } from './children.ts';
import { type ChildState, KeptChild, type KeptChildPorts } from './kept-child.ts';

export type Answer = Message;

/** A start under load may take seconds. */
const LATE_STARTING_MAX = 3;

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

export interface HelperOptions {
  readonly spawn: () => Child;
  /** It ended without being told to. */
  readonly onDeath: KeptChildPorts['onDeath'];
  readonly onNotStarted: KeptChildPorts['onNotStarted'];
  /** One that was asked nothing for so long is ended; the next question starts another. Never, if undefined. */
  readonly idleMs?: number | undefined;
  /** It will be asked something soon: it is not ended. */
  readonly isExpected?: () => boolean;
  /** One that is late is ended, for nobody else looks after it; while it starts, when it is late for the third time. */
  readonly endLate?: boolean;
}

export class Helper {
  readonly #kept: KeptChild;
  readonly #idleMs: number | undefined;
  readonly #isExpected: () => boolean;
  /** The first one was asked; nobody may wait for its answer any more. Somebody waits for each of the others. */
  readonly #questions: Question[] = [];
  #hasAnswered = false;
  readonly #endLate: boolean;
  #lateInARow = 0;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor({
    spawn,
    onDeath,
    onNotStarted,
    idleMs,
    isExpected = () => false,
    endLate = false,
  }: HelperOptions) {
    this.#idleMs = idleMs;
    this.#isExpected = isExpected;
    this.#endLate = endLate;
    this.#kept = new KeptChild({
      spawn,
      onDeath,
      onNotStarted,
      onStart: (child) => {
        void this.#listen(child);
        this.#restSoon();
      },
      onGone: () => {
        this.#hasAnswered = false;
        this.#lateInARow = 0;
        for (const question of this.#questions.splice(0)) {
          clearTimeout(question.timer);
          question.settle?.(new NoAnswer('ended'));
        }
      },
    });
  }

  get pid(): number | undefined {
    return this.#kept.pid;
  }

  /** The child that runs now has shown that it does: its start is over. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /** Another number after each start. */
  get starts(): number {
    return this.#kept.starts;
  }

  /** For a status: of the child that runs, if one does. */
  states<R extends string>(role: R): ChildState<R>[] {
    return this.#kept.states(role);
  }

  /** Starts it now, so that the first question does not wait for it. */
  start(): void {
    this.#kept.start();
  }

  /** Throws NoAnswer, or MountError for an answer that says no. */
  async ask(message: Message, timeoutMs: number): Promise<Answer> {
    if (!this.#kept.mustWait) this.start();
    if (this.#kept.isStopped || this.#kept.child === undefined) throw new NoAnswer('ended');
    clearTimeout(this.#idleTimer);
    const answer = await new Promise<Answer | NoAnswer>((resolve) => {
      const question: Question = { message, timeoutMs, timer: undefined, settle: undefined };
      question.settle = (settled) => {
        clearTimeout(question.timer);
        question.settle = undefined;
        resolve(settled);
      };
      const ahead = this.#questions.filter(({ settle }) => settle !== undefined);
      this.#questions.push(question);
      if (this.#questions.length === 1) this.#send(question);
      else this.#wait(question, ahead);
    });
    if (answer instanceof NoAnswer) throw answer;
    if (answer['ok'] !== true)
      throw new MountError('mount-failed', `cannot tell the kernel: ${said(answer)}`);
    return answer;
  }

  /** Ends it, and nobody is started any more. A child in a call that nothing interrupts goes when that call does. */
  stop(): void {
    clearTimeout(this.#idleTimer);
    this.#kept.stop();
    this.#kept.rest();
  }

  /** For one that does not answer although the server does. */
  kill(): void {
    this.#kept.kill();
  }

  /** Goes over to the program that is on disk now. What it was asked is answered by nobody. */
  restart(): void {
    this.#kept.restart();
  }

  async #listen(child: Child): Promise<void> {
    try {
      for (;;) {
        const answer = await child.channel.receive();
        // What is heard of one after its end answers no question of the next.
        if (this.#kept.child === child) this.#answered(answer);
      }
    } catch {
      // It is gone, or says what is no message: it goes on only with somebody to talk to.
      child.kill('SIGKILL');
    }
  }

  #answered(answer: Answer): void {
    this.#hasAnswered = true;
    this.#lateInARow = 0;
    const question = this.#questions.shift();
    clearTimeout(question?.timer);
    question?.settle?.(answer);
    const next = this.#questions[0];
    if (next === undefined) this.#restSoon();
    else this.#send(next);
  }

  /** Those before it may take all of their time. What nobody waits for any more is not asked either. */
  #wait(question: Question, ahead: readonly Question[]): void {
    const waitMs = ahead.reduce((sum, { timeoutMs }) => sum + timeoutMs, question.timeoutMs);
    question.timer = setTimeout(() => {
      this.#questions.splice(this.#questions.indexOf(question), 1);
      question.settle?.(new NoAnswer('late'));
    }, waitMs);
  }

  /** Its own time begins now. */
  #send(question: Question): void {
    clearTimeout(question.timer);
    question.timer = setTimeout(() => this.#late(question), question.timeoutMs);
    this.#kept.child?.channel.send(question.message);
  }

  #late(question: Question): void {
    question.settle?.(new NoAnswer('late'));
    if (!this.#endLate) return;
    this.#lateInARow += 1;
    if (this.#hasAnswered || this.#lateInARow === LATE_STARTING_MAX) this.kill();
    // What is asked next waits for this answer.
    else question.timer = setTimeout(() => this.#late(question), question.timeoutMs);
  }

  #restSoon(): void {
    if (this.#idleMs === undefined || this.#questions.length > 0) return;
    clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => {
      if (this.#isExpected()) this.#restSoon();
      else this.#kept.rest();
    }, this.#idleMs);
  }
}

/** A child's own word for what went wrong: an errno name, or nothing. */
function said(answer: Answer): string {
  const errno = answer['errno'];
  return typeof errno === 'string' && /^E[A-Z0-9]{1,20}$/.test(errno) ? errno : 'it failed';
}
