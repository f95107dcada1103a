/** A Helper that answers what a test says, and what it was asked. */
import { type Answer, NoAnswer } from '../../src/daemon/helper.ts';

type Question = Readonly<Record<string, unknown>>;

export class FakeHelper {
  readonly asked: Question[] = [];
  readonly killed: (number | undefined)[] = [];
  pid: number | undefined = 100;
  hasAnswered = true;
  starts = 1;
  /** What the next questions get, one each; after that, or for undefined, `{"ok":true}`. */
  answers: (Answer | Error | 'dies' | undefined)[] = [];

  start(): void {
    if (this.pid === undefined) {
      this.starts += 1;
      this.pid = 99 + this.starts;
    }
  }

  async ask(question: Question): Promise<Answer> {
    this.start();
    this.asked.push(question);
    const answer = this.answers.shift() ?? { ok: true };
    if (answer === 'dies') {
      this.pid = undefined;
      throw new NoAnswer('ended');
    }
    if (answer instanceof Error) throw answer;
    return answer;
  }

  kill(): void {
    this.killed.push(this.pid);
  }

  /** The word of each question. */
  get words(): unknown[] {
    return this.asked.map((question) => question['do'] ?? Object.keys(question)[0]);
  }
}
