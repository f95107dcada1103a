/**
 * What checks find, in words that have nothing of a file's content: its path, the rule, what was expected and what was
 * found. Names, serials and dates of certificates are public: whoever connects is shown them.
 */
import { Buffer } from 'node:buffer';
import { BundleError, quote } from '../errors.ts';

/** A list that a process hands on has at most so many, and so many bytes as JSON. */
export const FINDINGS_MAX = 100;
export const CERTIFICATES_MAX = 2000;
export const KEPT_MAX = 1000;
/** Of one certificate: enough to look at what a server presents. */
export const NAMES_MAX = 20;
export const FINDINGS_BYTES_MAX = 64 * 1024;
export const CERTIFICATES_BYTES_MAX = 448 * 1024;
export const KEPT_BYTES_MAX = 64 * 1024;

export const RULES = ['pair', 'required', 'dns', 'format', 'pem', 'chain', 'dates', 'expiry'] as const;
export type Rule = (typeof RULES)[number];

export interface Finding {
  readonly level: 'warn';
  readonly path: string;
  readonly rule: Rule;
  readonly expected: string;
  readonly found: string;
}

/** The leaf of a PEM file. */
export interface CertificateFact {
  readonly path: string;
  /** Hex, lower case, whole bytes, none of them a leading zero. */
  readonly serial: string;
  /** ISO 8601. */
  readonly notBefore: string;
  readonly notAfter: string;
  /** DNS names and addresses of its subjectAltName, the first ones. */
  readonly names: readonly string[];
}

export interface Problem extends Omit<Finding, 'level'> {
  readonly level: 'refuse' | 'warn';
  /** Whether it may be over at another time, or with another clock. */
  readonly clock?: boolean | undefined;
  readonly hint?: string | undefined;
  /** The names that are to be kept together where the live version of `path` is. */
  readonly partners?: readonly string[] | undefined;
}

/** What is said of a candidate that goes live. */
export interface Findings {
  readonly findings: readonly Finding[];
  /** How many there were. */
  readonly warnings: number;
  readonly certificates: readonly CertificateFact[];
  /** Names whose live version stays. */
  readonly kept: readonly string[];
}

const HINTS: Readonly<Record<Rule, string>> = {
  pair: 'pack certificate and key of one issue together',
  required: 'pack it, or take it out of checks.required',
  dns: 'have the certificate issued for that name, or correct checks.dns',
  format: 'correct the file and pack again; what is live stays',
  pem: 'pack the whole file, as it was issued',
  chain: 'the certificate of the server comes first, then the one that issued it, and so on',
  dates: 'pack the renewed certificate; if it is, the clock of this machine is wrong',
  expiry: 'renew it',
};

/** The error of a candidate that is refused: its first problem, which a clock can mend only where it can mend all. */
export function refusalOf(problems: readonly Problem[]): BundleError {
  const first = problems[0];
  if (first === undefined) throw new Error('a refusal without a reason');
  const { path, rule, expected, found, hint = HINTS[rule] } = first;
  const more = problems.length > 1 ? `, and ${problems.length - 1} more` : '';
  const isClock = problems.every(({ clock }) => clock === true);
  return new BundleError(
    isClock ? 'check-clock' : 'check-failed',
    `cannot accept bundle: ${quote(path)} (${rule}): found ${found}, want ${expected}${more}`,
    { hint },
  );
}

/** As many as may be handed on. */
export function boundFindings(
  problems: readonly Problem[],
  certificates: readonly CertificateFact[],
  kept: readonly string[],
): Findings {
  const findings = problems.map(({ path, rule, expected, found }): Finding => {
    return { level: 'warn', path, rule, expected, found };
  });
  return {
    findings: bounded(findings, FINDINGS_MAX, FINDINGS_BYTES_MAX),
    warnings: findings.length,
    certificates: firstToExpire(certificates),
    kept: bounded(kept, KEPT_MAX, KEPT_BYTES_MAX),
  };
}

/** As many as may be handed on, in their order: those that expire first. */
export function firstToExpire<T extends Pick<CertificateFact, 'notAfter'>>(certificates: readonly T[]): T[] {
  const byExpiry = certificates
    .map((each) => ({ each, at: Date.parse(each.notAfter) }))
    .sort((a, b) => a.at - b.at)
    .map(({ each }) => each);
  const some = new Set(bounded(byExpiry, CERTIFICATES_MAX, CERTIFICATES_BYTES_MAX));
  return certificates.filter((each) => some.has(each));
}

/** Of several lists, which have nothing twice, in their order: as many of each as of the others, where there are so many. */
export function sharedOut<T>(lists: readonly (readonly T[])[], countMax: number, bytesMax: number): T[] {
  const longest = Math.max(0, ...lists.map(({ length }) => length));
  const inTurn = Array.from({ length: longest }, (_, i) => lists.flatMap((list) => list.slice(i, i + 1)));
  const some = new Set(bounded(inTurn.flat(), countMax, bytesMax));
  return lists.flat().filter((each) => some.has(each));
}

/** The first ones: `countMax` at the most, and `bytesMax` as JSON. */
export function bounded<T>(list: readonly T[], countMax: number, bytesMax: number): T[] {
  const some: T[] = [];
  let bytes = 0;
  for (const each of list.slice(0, countMax)) {
    bytes += Buffer.byteLength(JSON.stringify(each)) + 1;
    if (bytes > bytesMax) break;
    some.push(each);
  }
  return some;
}

/** Of certificates as they are at `nowMs`: what status says long after a candidate was looked at. */
export function expiryFinding(
  { path, notBefore, notAfter }: CertificateFact,
  nowMs: number,
  warningMs: number,
): Finding | undefined {
  const finding = (rule: Rule, expected: string, found: string): Finding => {
    return { level: 'warn', path, rule, expected, found };
  };
  if (Date.parse(notAfter) < nowMs)
    return finding('dates', 'a certificate that is valid', `one that expired ${notAfter}`);
  if (Date.parse(notBefore) > nowMs) {
    return finding('dates', 'a certificate that is valid', `one that is valid from ${notBefore}`);
  }
  if (Date.parse(notAfter) - nowMs >= warningMs) return undefined;
  return finding('expiry', `${Math.round(warningMs / DAY_MS)} days or more`, `one that expires ${notAfter}`);
}

const DAY_MS = 24 * 3_600_000;
