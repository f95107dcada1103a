/**
 * haproxy's configuration as lines of words: https://docs.haproxy.org/3.0/configuration.html#2.2 (quoting and escaping), and
 * the files that its keywords name. Pure.
 */

export interface Line {
  /** "global", "frontend web", … */
  readonly section: string;
  /** At least one. */
  readonly words: readonly string[];
  readonly file: string;
  readonly line: number;
}

export type FileKind = 'file' | 'certificate' | 'list';

export interface NamedFile {
  /** As it is opened: absolute, or relative to haproxy's directory. */
  readonly path: string;
  /** A certificate may be a directory of them; a list is one of certificates. */
  readonly kind: FileKind;
  readonly file: string;
  readonly line: number;
}

const SECTIONS = new Set([
  ...['global', 'defaults', 'frontend', 'backend', 'listen', 'peers', 'resolvers', 'mailers', 'userlist'],
  ...[
    'cache',
    'program',
    'http-errors',
    'ring',
    'log-forward',
    'fcgi-app',
    'crt-store',
    'acme',
    'traces',
    'log-profile',
  ],
]);

/** Of one file, which begins in no section. Never throws: what can't be read is no line of it, and a quote that is not closed ends with its line. */
export function parseHaproxy(text: string, file: string): Line[] {
  const lines: Line[] = [];
  let section = '';
  for (const [i, raw] of text.split('\n').entries()) {
    const words = wordsOf(raw);
    const [first] = words;
    if (first === undefined) continue;
    if (SECTIONS.has(first)) section = words.slice(0, 2).join(' ');
    lines.push({ section, words, file, line: i + 1 });
  }
  return lines;
}

/** 'strong', "weak", and \ before a character; # outside of them begins a comment. */
export function wordsOf(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let at = 0; at < line.length; at += 1) {
    const c = line[at] as string;
    if (quote === "'") {
      if (c === "'") quote = '';
      else word += c;
    } else if (c === '\\' && at + 1 < line.length) {
      at += 1;
      word = (word ?? '') + escaped(line[at] as string);
    } else if (quote === '"') {
      if (c === '"') quote = '';
      else word += c;
    } else if (c === '"' || c === "'") {
      quote = c;
      word ??= '';
    } else if (c === '#') break;
    else if (/\s/.test(c)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? '') + c;
  }
  if (word !== undefined) words.push(word);
  return words;
}

const escaped = (c: string) => ({ n: '\n', r: '\r', t: '\t' })[c] ?? c;

/** Keyword of bind, server and default-server → what it names. */
const ON_LINE: Readonly<
  Record<string, { readonly kind: FileKind; readonly base: 'crt-base' | 'ca-base' | undefined }>
> = {
  crt: { kind: 'certificate', base: 'crt-base' },
  'crt-list': { kind: 'list', base: undefined },
  'ca-file': { kind: 'file', base: 'ca-base' },
  'ca-verify-file': { kind: 'file', base: 'ca-base' },
  'crl-file': { kind: 'file', base: 'ca-base' },
};
const LINES = new Set(['bind', 'server', 'default-server', 'server-template']);
/** Of a `load` in a crt-store. */
const OF_LOAD: Readonly<Record<string, 'crt-base' | 'key-base'>> = {
  crt: 'crt-base',
  key: 'key-base',
  ocsp: 'crt-base',
  issuer: 'crt-base',
  sctl: 'crt-base',
};

/**
 * Every file of TLS that the lines name: those of all files, in the order in which haproxy reads them, for the bases of one
 * count in the next. One with a variable of the environment in its name is left out.
 */
export function filesOf(lines: readonly Line[]): NamedFile[] {
  const bases = new Map<string, string>();
  const found: NamedFile[] = [];
  for (const { section, words, file, line } of lines) {
    const [first = '', second] = words;
    if (/^(crt|ca|key)-base$/.test(first) && second !== undefined) bases.set(`${section} ${first}`, second);
    const isStore = section.startsWith('crt-store') && first === 'load';
    if (!isStore && !LINES.has(first)) continue;
    words.forEach((word, i) => {
      const value = words[i + 1];
      if (value === undefined || i === 0) return;
      const keyword = isStore ? OF_LOAD[word] : undefined;
      const known = Object.hasOwn(ON_LINE, word) ? ON_LINE[word] : undefined;
      const named = isStore
        ? keyword === undefined || !Object.hasOwn(OF_LOAD, word)
          ? undefined
          : { kind: 'file' as const, base: bases.get(`${section} ${keyword}`) }
        : known === undefined
          ? undefined
          : {
              kind: known.kind,
              base: known.base === undefined ? undefined : bases.get(`global ${known.base}`),
            };
      // "@system-ca", "@store/name": no files.
      if (named === undefined || value.startsWith('@') || value.includes('$')) return;
      found.push({ path: belowBase(value, named.base), kind: named.kind, file, line });
    });
  }
  return found;
}

export interface Listed {
  readonly path: string;
  readonly line: number;
}

/** Of the text of a crt-list: its first words. `base`: crt-base of global, for what is relative. */
export function certificatesOfList(text: string, base?: string): Listed[] {
  return text.split('\n').flatMap((line, i) => {
    const [first] = wordsOf(line);
    if (first === undefined || first.startsWith('@') || first.includes('$')) return [];
    return [{ path: belowBase(first, base), line: i + 1 }];
  });
}

export function belowBase(path: string, base: string | undefined): string {
  return path.startsWith('/') || base === undefined ? path : `${base.replace(/\/$/, '')}/${path}`;
}

export function crtBase(lines: readonly Line[]): string | undefined {
  return lines.findLast(({ section, words }) => section === 'global' && words[0] === 'crt-base')?.words[1];
}
