/**
 * haproxy's runtime API, as far as certificates go (management.txt, "set ssl cert"): what is sent, and what its answers
 * mean. A command is a line; a payload follows `<<` and ends with an empty line. Whoever wrote a bundle must not be able to
 * end it early: what came after it would be a command. So only PEM blocks travel, and only plain names.
 */

const NEWLINE = 0x0a;
const RETURN = 0x0d;
/** haproxy itself takes no command longer than its tune.bufsize, 16 KiB unless that was raised. */
export const PEM_BYTES_MAX = 1024 * 1024;

/** Whether a path can be one word of a command. */
export function isPlainName(name: string): boolean {
  return /^[A-Za-z0-9/._@%+=:,-]{1,1024}$/.test(name);
}

/**
 * The PEM blocks of a file, and nothing of it that is not inside one, each line ended by a newline: written over `pem` from
 * its beginning. Returns how many bytes they are; 0 where there is none, or one does not end, or has in it what no PEM has.
 * What follows the last newline is not looked at.
 */
export function keepPemBlocks(pem: Uint8Array): number {
  let to = 0;
  let inside = false;
  for (let from = 0; from < pem.length; ) {
    const end = pem.indexOf(NEWLINE, from);
    if (end < 0) break;
    let last = end;
    while (last > from && (pem[last - 1] === RETURN || pem[last - 1] === 0x20 || pem[last - 1] === 0x09))
      last -= 1;
    const begins = startsWith(pem, from, last, '-----BEGIN ');
    if (begins && inside) return 0;
    if (begins) inside = true;
    // Before it is written over: a line may be written where it began.
    const ends = startsWith(pem, from, last, '-----END ');
    if (inside && last > from) {
      for (let at = from; at < last; at++) {
        const byte = pem[at] as number;
        if (byte < 0x20 || byte > 0x7e) return 0;
        pem[to++] = byte;
      }
      pem[to++] = NEWLINE;
    }
    if (ends) inside = false;
    from = end + 1;
  }
  return inside ? 0 : to;
}

function startsWith(bytes: Uint8Array, from: number, end: number, text: string): boolean {
  if (end - from < text.length) return false;
  for (let i = 0; i < text.length; i++) if (bytes[from + i] !== text.charCodeAt(i)) return false;
  return true;
}

/** The names in the answer to `show ssl cert`: one a line, below a comment; an open transaction's have a star. */
export function loadedCertificates(answer: string): Set<string> {
  const lines = answer.split('\n').map((line) => line.trim());
  return new Set(lines.filter((line) => line !== '' && !line.startsWith('#') && !line.startsWith('*')));
}

/** Of `set ssl cert`. */
export function isAccepted(answer: string): boolean {
  return /^Transaction (created|updated) for certificate /m.test(answer);
}

/** Of `commit ssl cert`, which shows dots as it goes. */
export function isCommitted(answer: string): boolean {
  return /^Success!?\s*$/m.test(answer);
}
