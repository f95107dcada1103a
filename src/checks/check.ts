/**
 * One look at a whole tree: everything that is wrong with it by the `checks:` of a config and by what is usual. It reads
 * nothing but the tree and the live generation, and is told the time.
 */
import type { ArchiveEntry } from '../bundle/archive.ts';
import { quote } from '../errors.ts';
import {
  chainProblem,
  covers,
  factOf,
  guessedPairProblem,
  guessKey,
  leafOf,
  PemFiles,
  pairProblem,
} from './certificates.ts';
import { dotenvProblem } from './dotenv.ts';
import { type Files, filesOfEntries, type LiveFiles } from './files.ts';
import { type CertificateFact, expiryFinding, type Problem } from './findings.ts';
import { compileGlob, type Glob, substitute } from './glob.ts';
import { jsonProblem } from './json.ts';
import { isReadableKey, type Pem } from './pem.ts';
import type { Checks, Format } from './settings.ts';
import type { FormatProblem } from './text.ts';

export type FormatCheck = (data: Uint8Array) => FormatProblem | undefined;

export interface CheckOptions {
  readonly checks: Checks;
  readonly nowMs: number;
  /** Loaded where a config asks for it. */
  readonly yamlProblem?: FormatCheck | undefined;
  /** Given where this process has other things to do as well: called after a few files. */
  readonly yield?: (() => Promise<void>) | undefined;
}

export interface Checked {
  readonly problems: readonly Problem[];
  readonly certificates: readonly CertificateFact[];
  /** Of a certificate's or a key's name: those that it belongs with. */
  readonly partners: ReadonlyMap<string, ReadonlySet<string>>;
}

/** Two certificates with their keys take about a millisecond. */
const FILES_BETWEEN_YIELDS = 32;
/** An author's clock is allowed to be a little ahead of ours. */
const NOT_YET_MS_MAX = 60 * 60 * 1000;

export async function checkEntries(
  entries: readonly ArchiveEntry[],
  live: LiveFiles | undefined,
  options: CheckOptions,
): Promise<Checked> {
  return new Check(entries, live, options).run();
}

class Check {
  readonly #files: Files;
  readonly #pems: PemFiles;
  readonly #livePems: PemFiles | undefined;
  readonly #live: LiveFiles | undefined;
  readonly #options: CheckOptions;
  /** By which programs open files, in order. */
  readonly #names: readonly string[];
  readonly #problems: Problem[] = [];
  /** What was said already, under another name of the same files. */
  readonly #said = new Set<string>();
  readonly #certificates: CertificateFact[] = [];
  readonly #partners = new Map<string, Set<string>>();
  /** Certificates with the key that a config names, or that is guessed. */
  readonly #keyOf = new Map<string, string>();
  #looked = 0;

  constructor(entries: readonly ArchiveEntry[], live: LiveFiles | undefined, options: CheckOptions) {
    this.#files = filesOfEntries(entries);
    this.#pems = new PemFiles(this.#files);
    this.#live = live;
    this.#livePems = live === undefined ? undefined : new PemFiles(live);
    this.#options = options;
    this.#names = entries
      .filter(({ kind }) => kind !== 'directory')
      .map(({ path }) => path)
      .sort();
  }

  async run(): Promise<Checked> {
    const { checks } = this.#options;
    for (const pattern of checks.required) this.#require(compileGlob(pattern));
    for (const { certificate, key } of checks.pairs) await this.#pair(compileGlob(certificate), key);
    for (const { file, names } of checks.dns) await this.#dns(compileGlob(file), names);
    for (const { match, format } of checks.formats) await this.#format(compileGlob(match), format);
    for (const name of this.#names) await this.#usual(name);
    return { problems: this.#problems, certificates: this.#certificates, partners: this.#partners };
  }

  /** Literal paths are looked for, also where nothing is. */
  #matching(glob: Glob): readonly string[] {
    if (glob.literal) return [glob.pattern];
    return this.#names.filter(
      (name) => glob.match(name) !== undefined && this.#files.open(name) !== undefined,
    );
  }

  #require(glob: Glob): void {
    if (this.#matching(glob).some((name) => this.#files.open(name) !== undefined)) return;
    const was = glob.literal ? [glob.pattern] : (this.#live?.matching(glob) ?? []);
    this.#problems.push({
      ...{ level: 'refuse', rule: 'required', path: glob.pattern },
      ...{ expected: 'a file of that name', found: 'none', partners: was },
    });
  }

  async #pair(certificates: Glob, keyPattern: string | undefined): Promise<void> {
    for (const certificate of this.#matching(certificates)) {
      await this.#turn();
      const captures = certificates.match(certificate) ?? [];
      const key = keyPattern === undefined ? certificate : substitute(keyPattern, captures);
      this.#isPair(certificate, key);
      const problem = pairProblem(this.#pems, certificate, key);
      if (problem !== undefined) this.#problems.push(problem);
    }
  }

  async #dns(files: Glob, names: readonly string[]): Promise<void> {
    for (const path of this.#matching(files)) {
      await this.#turn();
      const opened = this.#pems.open(path);
      const first = opened?.pem?.certificates[0];
      const missing = first === undefined ? names[0] : names.find((name) => !covers(first, name));
      if (missing === undefined) continue;
      const found =
        opened === undefined
          ? 'no such file'
          : first === undefined
            ? 'no certificate in PEM'
            : 'one that is not for it';
      this.#problems.push({
        ...{ level: 'refuse', rule: 'dns', path, expected: `a certificate for ${quote(missing)}`, found },
      });
    }
  }

  async #format(files: Glob, format: Format): Promise<void> {
    for (const path of this.#matching(files)) {
      const file = this.#files.open(path);
      if (file === undefined) continue;
      await this.#turn();
      const problem = this.#formatCheck(format)(file.data);
      if (problem === undefined) continue;
      const { line, column, expected, found } = problem;
      this.#problems.push({
        ...{ level: 'refuse', rule: 'format', path, expected: `${format} with ${expected}` },
        found: `${found} (line ${line}, column ${column})`,
      });
    }
  }

  #formatCheck(format: Format): FormatCheck {
    if (format === 'json') return jsonProblem;
    if (format === 'dotenv') return dotenvProblem;
    const { yamlProblem } = this.#options;
    if (yamlProblem === undefined) throw new Error('YAML is to be checked, and its parser was not loaded');
    return yamlProblem;
  }

  /** What needs no config: whatever is recognisably PEM. */
  async #usual(name: string): Promise<void> {
    const opened = this.#pems.open(name);
    if (opened === undefined) return;
    const { file, pem } = opened;
    if (pem === undefined) {
      if (/\.pem$/i.test(name))
        this.#warn(file.path, { rule: 'pem', path: name, expected: 'PEM', found: 'no block of it' });
      return;
    }
    await this.#turn();
    const { problem } = pem;
    if (problem !== undefined && !this.#isConfigured(name)) {
      const found = `${problem.found} (line ${problem.line})`;
      this.#warn(file.path, { rule: 'pem', path: name, expected: problem.expected, found });
    }
    const key = this.#keyOf.get(name) ?? this.#guess(name, pem);
    this.#looseKey(name, file.path, pem, key);
    const leaf = leafOf(pem, key !== undefined);
    if (leaf === undefined) return;
    const fact = factOf(name, leaf);
    this.#certificates.push(fact);
    this.#dates(file.path, fact);
    const chain = chainProblem(name, pem, this.#options.nowMs);
    if (chain !== undefined) this.#warn(file.path, chain);
  }

  #isConfigured(name: string): boolean {
    return this.#keyOf.has(name) || this.#configuredKeys.has(name);
  }

  readonly #configuredKeys = new Set<string>();

  #isPair(certificate: string, key: string): void {
    this.#keyOf.set(certificate, key);
    this.#configuredKeys.add(key);
    this.#together(certificate, key);
  }

  #together(a: string, b: string): void {
    for (const [one, other] of [
      [a, b],
      [b, a],
    ] as const) {
      const known = this.#partners.get(one);
      if (known === undefined) this.#partners.set(one, new Set([other]));
      else known.add(other);
    }
  }

  #guess(name: string, pem: Pem): string | undefined {
    const key = guessKey(this.#pems, name, pem);
    if (key === undefined) return undefined;
    this.#together(name, key);
    const problem = guessedPairProblem(this.#pems, name, key);
    const real = `${this.#pems.open(name)?.file.path}\0${this.#pems.open(key)?.file.path}`;
    if (problem !== undefined && pem.problem === undefined) this.#warn(real, problem);
    return key;
  }

  /** One that stands alone, or with certificates that nothing compares it with. */
  #looseKey(name: string, real: string, pem: Pem, paired: string | undefined): void {
    if (pem.key === undefined || pem.keyIsEncrypted || paired === name || this.#configuredKeys.has(name))
      return;
    if (this.#partners.has(name) || isReadableKey(pem.key)) return;
    this.#warn(real, {
      rule: 'pem',
      path: name,
      expected: 'a private key',
      found: 'one that cannot be read',
    });
  }

  /** A date makes a candidate worse only where what is live has a better one: whichever clock is wrong. */
  #dates(real: string, fact: CertificateFact): void {
    const { nowMs, checks } = this.#options;
    const finding = expiryFinding(fact, nowMs, checks.expiryWarning);
    if (finding === undefined) return;
    const isTooEarly = Date.parse(fact.notBefore) > nowMs;
    const tolerated = isTooEarly && Date.parse(fact.notBefore) <= nowMs + NOT_YET_MS_MAX;
    const isWorse = finding.rule === 'dates' && !tolerated && this.#isLiveValid(fact.path);
    if (!isWorse) this.#warn(real, finding);
    else this.#problems.push({ ...finding, level: 'refuse', clock: true });
  }

  #isLiveValid(path: string): boolean {
    const { nowMs } = this.#options;
    const leaf = this.#livePems?.open(path)?.pem?.certificates[0];
    return leaf !== undefined && leaf.notBeforeMs <= nowMs && nowMs <= leaf.notAfterMs;
  }

  #warn(real: string, problem: Omit<Problem, 'level'>): void {
    const key = `${problem.rule}\0${real}`;
    if (this.#said.has(key)) return;
    this.#said.add(key);
    this.#problems.push({ ...problem, level: 'warn' });
  }

  async #turn(): Promise<void> {
    this.#looked++;
    if (this.#looked % FILES_BETWEEN_YIELDS === 0) await this.#options.yield?.();
  }
}
