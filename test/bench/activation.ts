/**
 * A new bundle with one changed file among 2,000: how long after it is opened it is served, with 16 MiB and with
 * 256 MiB of content that did not change. Opening reads every byte and is not counted; it is noted beside.
 */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Bench, type LogLine } from '../support/program.ts';
import { directoryName, fileName, makeFiles, type Ours, ours, pack, ramfs } from './filesystems.ts';
import { atMost, type Benchmark, median, type Result } from './measure.ts';

const ROUNDS = 5;
const FILES = { directories: 20, filesEach: 100 };
const MEBIBYTES = [16, 256] as const;
/** Sixteen times the bytes may cost this much more: what 1 ms of clock and two runs of the same differ by. */
const RATIO_MAX = 1.5;
const ACTIVATED_WITHIN_MS = 60_000;
/** The event before `activated`: the candidate is complete. A version that does not log it can't meet the target. */
const OPENED = 'unsealed';

export const activation: Benchmark = {
  name: 'activation',
  async run(scope) {
    const bench = await Bench.create(scope);
    const subjects: Subject[] = [];
    for (const mebibytes of MEBIBYTES) subjects.push(await Subject.create(bench, mebibytes));
    for (let round = 0; round < ROUNDS; round++) {
      for (const subject of subjects) await subject.change(round);
    }
    const [small = Number.NaN] = subjects.map(({ served }) => median(served));
    return subjects.map(({ mebibytes, mount, served, whole, told }, i): Result => {
      const value = median(served);
      const target = told
        ? atMost(value / small, RATIO_MAX, '×')
        : { text: `≤ ${RATIO_MAX} ×, but no event "${OPENED}"`, met: false };
      return {
        name: `one of 2,000 files changed, ${mebibytes} MiB, ${mount.name}`,
        value,
        unit: 'ms',
        statistic: `median of ${ROUNDS}`,
        note: `with noticing and opening it ${median(whole).toFixed(0)} ms`,
        ...(i === 0
          ? {}
          : {
              ratio: { value: value / small, to: `${MEBIBYTES[0]} MiB` },
              targets: [target],
            }),
      };
    });
  },
};

class Subject {
  readonly mebibytes: number;
  readonly mount: Ours;
  /** Milliseconds from opened to served, and from its being in place to served. */
  readonly served: number[] = [];
  readonly whole: number[] = [];
  /** Whether the log said each time when it was opened. */
  told = true;
  readonly #bench: Bench;
  readonly #source: string;

  private constructor(bench: Bench, mebibytes: number, source: string, mount: Ours) {
    this.#bench = bench;
    this.mebibytes = mebibytes;
    this.#source = source;
    this.mount = mount;
  }

  static async create(bench: Bench, mebibytes: number): Promise<Subject> {
    const name = `size-${mebibytes}`;
    const { directory } = await ramfs(bench, `source-${mebibytes}`);
    const fileBytes = Math.floor((mebibytes * 1024 * 1024) / (FILES.directories * FILES.filesEach));
    await makeFiles(directory, { ...FILES, fileBytes });
    const mount = await ours(bench, await pack(bench, directory, name), name, 'default');
    return new Subject(bench, mebibytes, directory, mount);
  }

  async change(round: number): Promise<void> {
    const { daemon } = this.mount;
    const file = path.join(this.#source, directoryName(round), fileName(round));
    await writeFile(file, `changed in round ${round}`);
    const seen = daemon.lines.length;
    await pack(this.#bench, this.#source, `size-${this.mebibytes}`);
    const packed = Date.now();
    // It notices by itself.
    const activated = await daemon.event('activated', round + 2, ACTIVATED_WITHIN_MS);
    const opened = daemon.lines.slice(seen).find(({ event }) => event === OPENED);
    this.whole.push(time(activated) - packed);
    this.told &&= opened !== undefined;
    this.served.push(time(activated) - (opened === undefined ? packed : time(opened)));
  }
}

function time(line: LogLine): number {
  return Date.parse(String(line['time']));
}
