/**
 * Certificates and keys of a tree: which belong together, for which names they are, when they are valid. PEM only: a DER
 * file is not told from any other.
 */
import type { X509Certificate } from 'node:crypto';
import { quote } from '../errors.ts';
import type { Files, FoundFile } from './files.ts';
import { type CertificateFact, NAMES_MAX, type Problem } from './findings.ts';
import { type Certificate, keyBelongs, type Pem, readPem } from './pem.ts';

const NAME_LENGTH_MAX = 253;
/** DER: a SEQUENCE. */
const SEQUENCE = 0x30;

/** The PEM files of a tree, each read once. */
export class PemFiles {
  readonly #files: Files;
  readonly #read = new Map<string, Pem | undefined>();

  constructor(files: Files) {
    this.#files = files;
  }

  open(name: string): { readonly file: FoundFile; readonly pem: Pem | undefined } | undefined {
    const file = this.#files.open(name);
    if (file === undefined) return undefined;
    if (!this.#read.has(file.path)) this.#read.set(file.path, readPem(file.data));
    return { file, pem: this.#read.get(file.path) };
  }
}

/** What is wrong with a pair that a config names; `key` is `certificate` where both are in one file. */
export function pairProblem(pems: PemFiles, certificate: string, key: string): Problem | undefined {
  const problem = (path: string, expected: string, found: string, hint?: string): Problem => {
    return { level: 'refuse', rule: 'pair', path, expected, found, hint, partners: [certificate, key] };
  };
  const [cert, keyFile] = [pems.open(certificate), pems.open(key)];
  const keyOf = key === certificate ? 'the key of its certificate' : `the key of ${quote(certificate)}`;
  if (cert === undefined) return problem(certificate, 'a certificate', 'no such file');
  if (keyFile === undefined) return problem(key, keyOf, 'no such file');
  for (const [path, pem] of [
    [certificate, cert.pem],
    [key, keyFile.pem],
  ] as const) {
    const wrong = pem?.problem;
    if (wrong !== undefined) return problem(path, wrong.expected, `${wrong.found} (line ${wrong.line})`);
  }
  const certificates = cert.pem?.certificates ?? [];
  if (certificates.length === 0) return problem(certificate, 'a certificate in PEM', 'none');
  const pem = keyFile.pem;
  if (pem?.key === undefined) return problem(key, keyOf, 'no private key in PEM');
  if (pem.keyIsEncrypted) {
    return problem(
      key,
      `${keyOf}, not encrypted`,
      'an encrypted one',
      'a bundle is encrypted: pack the key without a passphrase, or take the pair out of checks.pairs',
    );
  }
  const at = keyBelongs(pem.key, certificates);
  if (at === 0) return undefined;
  if (at === undefined) return problem(key, keyOf, 'a private key that cannot be read');
  if (at < 0) return problem(key, keyOf, 'the key of another certificate');
  return problem(
    certificate,
    'the certificate of the key first',
    `it in place ${at + 1} of ${certificates.length}`,
    'a chain in the wrong order: the certificate of the server comes first, then the one that issued it, and so on',
  );
}

/** Where the key of a certificate usually is, by the certificate's name: the first that is there counts. */
export function usualKeys(certificate: string): string[] {
  const slash = certificate.lastIndexOf('/') + 1;
  const directory = certificate.slice(0, slash);
  const name = certificate.slice(slash);
  const numbered = /^(?:fullchain|cert)(\d{0,9})\.pem$/.exec(name);
  const names = numbered === null ? [] : [`privkey${numbered[1]}.pem`, `key${numbered[1]}.pem`];
  const stem = /^(.+)\.(?:crt|cer|cert|pem)$/.exec(name)?.[1];
  if (stem !== undefined) {
    names.push(`${stem}.key`, `${name}.key`, `${stem}-key.pem`, `${stem}.key.pem`);
    // web.cert.pem beside web.key.pem
    const inner = /^(.+)\.(?:cert|crt)$/.exec(stem)?.[1];
    if (inner !== undefined) names.push(`${inner}.key.pem`, `${inner}.key`);
  }
  return names.map((each) => directory + each);
}

/**
 * The key that is guessed to be that of a certificate: in the same file, or under a usual name. Undefined where there is
 * none.
 */
export function guessKey(pems: PemFiles, name: string, pem: Pem): string | undefined {
  if (pem.certificates.length === 0) return undefined;
  if (pem.key !== undefined) return name;
  return usualKeys(name).find((each) => pems.open(each) !== undefined);
}

/** The same for a guessed pair: a warning at the most, and none for a key that can't be compared. */
export function guessedPairProblem(pems: PemFiles, certificate: string, key: string): Problem | undefined {
  const opened = pems.open(key);
  if (opened?.pem?.keyIsEncrypted === true) return undefined;
  if (opened?.pem === undefined && opened?.file.data[0] === SEQUENCE) return undefined;
  const problem = pairProblem(pems, certificate, key);
  return problem === undefined ? undefined : { ...problem, level: 'warn' };
}

/** The certificate that a server would present from a file; undefined for a file of authorities. */
export function leafOf(pem: Pem | undefined, hasKey: boolean): Certificate | undefined {
  const first = pem?.certificates[0];
  return first === undefined || (first.x509.ca && !hasKey) ? undefined : first;
}

/** The first certificate of a chain that the one after it did not issue; and one that is expired. */
export function chainProblem(path: string, { certificates }: Pem, nowMs: number): Problem | undefined {
  for (let i = 1; i < certificates.length; i++) {
    const [before, certificate] = [certificates[i - 1] as Certificate, certificates[i] as Certificate];
    const place = `certificate ${i + 1} of ${certificates.length}`;
    if (!before.x509.checkIssued(certificate.x509)) {
      return {
        level: 'warn',
        rule: 'chain',
        path,
        expected: `the issuer of certificate ${i} in place ${i + 1}`,
        found: 'another one',
      };
    }
    if (certificate.notAfterMs < nowMs) {
      const found = `${place} expired ${iso(certificate.notAfterMs)}`;
      return { level: 'warn', rule: 'chain', path, expected: 'a chain that is valid', found };
    }
  }
  return undefined;
}

/**
 * Whether a certificate is for a name, by RFC 6125: by its subjectAltName alone, and a star stands for one whole label,
 * the first. A name with a star is covered by that very name only.
 */
export function covers({ x509 }: Certificate, name: string): boolean {
  if (isAddress(name)) return x509.checkIP(name) !== undefined;
  if (name.startsWith('*.')) {
    return dnsNames(x509).some((each) => each.toLowerCase() === name.toLowerCase());
  }
  return x509.checkHost(name, { subject: 'never', partialWildcards: false }) !== undefined;
}

export function factOf(path: string, { x509, notBeforeMs, notAfterMs }: Certificate): CertificateFact {
  const hex = x509.serialNumber.toLowerCase().replace(/^(?:00)+(?=..)/, '');
  const names = [...dnsNames(x509), ...addresses(x509)].filter((name) => name.length <= NAME_LENGTH_MAX);
  return {
    path,
    serial: hex.length % 2 === 1 ? `0${hex}` : hex,
    notBefore: iso(notBeforeMs),
    notAfter: iso(notAfterMs),
    names: names.slice(0, NAMES_MAX),
  };
}

/** Those that Node did not have to quote: a name with a quote or a comma in it is none. */
function dnsNames(x509: X509Certificate): string[] {
  return alternatives(x509, /^DNS:([\w*.-]+)$/);
}

function addresses(x509: X509Certificate): string[] {
  return alternatives(x509, /^IP Address:([0-9A-Fa-f:.]+)$/);
}

function alternatives(x509: X509Certificate, pattern: RegExp): string[] {
  // Quoted ones may hold the separator: then those after them are not told apart, and none is taken for what it is not.
  const all = (x509.subjectAltName ?? '').split('"')[0] ?? '';
  return all.split(', ').flatMap((each) => pattern.exec(each)?.[1] ?? []);
}

/** Of names that a config may have: no host name has a colon, or is nothing but numbers. */
function isAddress(name: string): boolean {
  return /:|^[\d.]+$/.test(name);
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
