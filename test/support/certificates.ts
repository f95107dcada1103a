/** Certificates by openssl(1), each made once in a process: tests ask for the same ones again and again. */
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export type KeyKind = 'ec' | 'rsa' | 'ed25519';

export interface Wanted {
  /** Tells apart those that are alike in all else. */
  readonly cn?: string;
  /** As openssl writes them: DNS:a.test, IP:1.2.3.4. */
  readonly names?: readonly string[];
  /** From now on; below 0 it has ended. */
  readonly days?: number;
  /** As openssl writes times, YYMMDDHHMMSSZ: valid from then on, for thirty years, signed by itself. */
  readonly from?: string;
  readonly kind?: KeyKind;
  /** Hex. */
  readonly serial?: string;
  /** Undefined: signed by itself. */
  readonly issuer?: Issued;
  readonly authority?: boolean;
}

/** PEM, each text with a newline at its end. */
export interface Issued {
  readonly certificate: string;
  readonly key: string;
  readonly keyObject: KeyObject;
}

const issued = new Map<string, Issued>();

/** The certificate that is wanted, with a key of its own. */
export function issue(wanted: Wanted = {}): Issued {
  const id = JSON.stringify({ ...wanted, issuer: wanted.issuer?.certificate });
  const known = issued.get(id);
  if (known !== undefined) return known;
  const made = make(wanted);
  issued.set(id, made);
  return made;
}

/** A root, an intermediate, a leaf. */
export function chain(wanted: Wanted = {}): {
  readonly root: Issued;
  readonly middle: Issued;
  readonly leaf: Issued;
} {
  const root = issue({ cn: 'root', authority: true, days: 3000 });
  const middle = issue({ cn: 'middle', authority: true, days: 2000, issuer: root });
  return { root, middle, leaf: issue({ ...wanted, issuer: middle }) };
}

/** PKCS#8 under a passphrase. */
export function encrypted({ keyObject }: Issued): string {
  return keyObject
    .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'canary' })
    .toString();
}

const CA_CONFIG = `[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=.\ndatabase=index\nrand_serial=yes\npolicy=p\n[p]\ncommonName=supplied\n`;

function make({
  from,
  cn = 'leaf',
  names = ['DNS:a.test'],
  days = 90,
  kind = 'ec',
  serial,
  issuer,
  authority,
}: Wanted): Issued {
  const { privateKey } = keyPair(kind);
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const place = mkdtempSync(path.join(tmpdir(), 'secretsfs-'));
  const at = (name: string) => path.join(place, name);
  const openssl = (...args: string[]) =>
    execFileSync('openssl', args, { cwd: place, stdio: 'pipe', timeout: 30_000 });
  try {
    writeFileSync(at('key'), key);
    const san = names.length === 0 ? '' : `subjectAltName=${names.join(',')}\n`;
    writeFileSync(at('ext'), `basicConstraints=CA:${authority === true ? 'TRUE' : 'FALSE'}\n${san}`);
    openssl('req', '-new', '-key', 'key', '-subj', `/CN=${cn}`, '-out', 'csr');
    if (issuer !== undefined) {
      writeFileSync(at('ca.crt'), issuer.certificate);
      writeFileSync(at('ca.key'), issuer.key);
    }
    const signer = issuer === undefined ? ['-signkey', 'key'] : ['-CA', 'ca.crt', '-CAkey', 'ca.key'];
    if (from !== undefined) {
      writeFileSync(at('config'), CA_CONFIG);
      writeFileSync(at('index'), '');
      const valid = ['-startdate', from, '-days', '10950', '-md', 'sha256'];
      const files = ['-config', 'config', '-in', 'csr', '-keyfile', 'key', '-extfile', 'ext', '-out', 'crt'];
      openssl('ca', '-batch', '-selfsign', '-notext', ...valid, ...files);
      return { certificate: readFileSync(at('crt'), 'utf8'), key, keyObject: privateKey };
    }
    const number = serial === undefined ? [] : ['-set_serial', `0x${serial}`];
    const options = ['-days', String(days), '-extfile', 'ext', ...number];
    const certificate = openssl('x509', '-req', '-in', 'csr', ...signer, ...options).toString();
    return { certificate, key, keyObject: privateKey };
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

function keyPair(kind: KeyKind): { readonly privateKey: KeyObject } {
  if (kind === 'rsa') return generateKeyPairSync('rsa', { modulusLength: 2048 });
  if (kind === 'ed25519') return generateKeyPairSync('ed25519');
  return generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
}
