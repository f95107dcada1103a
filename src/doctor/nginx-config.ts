/**
 * nginx's configuration as a list of directives: https://nginx.org/en/docs/beginners_guide.html#conf_structure, and for words
 * and quotes ngx_conf_read_token() of its source. Not by `nginx -T`, which as root makes log files and loads modules that the
 * configuration names. Includes are followed within bounds; pure but for the reader that is given.
 */

import { type ConfigReader, expand, FILES_MAX } from './expand.ts';

export interface Directive {
  readonly name: string;
  readonly args: readonly string[];
  /** Names of the blocks around it, the outermost first: http, server. */
  readonly blocks: readonly string[];
  readonly file: string;
  readonly line: number;
}

export interface NginxConfig {
  readonly directives: readonly Directive[];
  /** One line each: what could not be read. */
  readonly problems: readonly string[];
}

/** More is no configuration of a machine. */
const CHARACTERS_MAX = 8 * 1024 * 1024;
const DEPTH_MAX = 16;

type Token = { readonly text: string; readonly line: number } & (
  | { readonly kind: 'word' }
  | { readonly kind: ';' | '{' | '}' }
);

/** `main`: absolute. Relative includes are relative to its directory. */
export async function readNginxConfig(main: string, reader: ConfigReader): Promise<NginxConfig> {
  const directives: Directive[] = [];
  const problems: string[] = [];
  const prefix = main.slice(0, main.lastIndexOf('/'));
  let files = 0;
  let characters = 0;
  const visit = async (file: string, blocks: readonly string[], depth: number): Promise<void> => {
    files += 1;
    if (files > FILES_MAX || depth > DEPTH_MAX || characters > CHARACTERS_MAX) {
      if (problems.at(-1) !== TOO_MUCH) problems.push(TOO_MUCH);
      return;
    }
    const text = await reader.read(file);
    if (text === undefined) {
      problems.push(`there is no ${JSON.stringify(file)}`);
      return;
    }
    characters += text.length;
    const parsed = parseNginx(text, file, blocks);
    problems.push(...parsed.problems);
    for (const directive of parsed.directives) {
      const [pattern] = directive.args;
      if (directive.name !== 'include' || pattern === undefined) {
        directives.push(directive);
        continue;
      }
      const absolute = pattern.startsWith('/') ? pattern : `${prefix}/${pattern}`;
      for (const each of await expand(absolute, reader)) await visit(each, directive.blocks, depth + 1);
    }
  };
  await visit(main, [], 0);
  return { directives, problems };
}

const TOO_MUCH = `it includes more than ${FILES_MAX} files, ${DEPTH_MAX} deep: the rest was not looked at`;

/** Text of one file; includes are directives like any other. */
export function parseNginx(text: string, file: string, around: readonly string[] = []): NginxConfig {
  const directives: Directive[] = [];
  const problems: string[] = [];
  const blocks = [...around];
  let words: { text: string; line: number }[] = [];
  let unfinished: string | undefined;
  const tokens = tokensOf(text, (line) => {
    unfinished = `${JSON.stringify(file)} ends within a quote that begins in line ${line}`;
  });
  for (const token of tokens) {
    if (token.kind === 'word') {
      words.push(token);
      continue;
    }
    const [first, ...rest] = words;
    words = [];
    if (first !== undefined)
      directives.push({
        name: first.text,
        args: rest.map((word) => word.text),
        blocks: [...blocks],
        file,
        line: first.line,
      });
    if (token.kind === '{') blocks.push(first?.text ?? '');
    if (token.kind === '}') {
      if (blocks.length === around.length)
        problems.push(`${JSON.stringify(file)} has a } too many in line ${token.line}`);
      else blocks.pop();
    }
  }
  if (unfinished !== undefined) problems.push(unfinished);
  else if (words[0] !== undefined)
    problems.push(`${JSON.stringify(file)} ends within a directive that begins in line ${words[0].line}`);
  else if (blocks.length > around.length) problems.push(`${JSON.stringify(file)} ends within a block`);
  return { directives, problems };
}

function* tokensOf(text: string, onUnfinished: (line: number) => void): Generator<Token> {
  let at = 0;
  let line = 1;
  let previous = '';
  while (at < text.length) {
    const c = text[at] as string;
    if (c === '\n') line += 1;
    if (/\s/.test(c)) at += 1;
    else if (c === '#') {
      const end = text.indexOf('\n', at);
      at = end === -1 ? text.length : end;
    } else if (c === ';' || c === '}') {
      yield { kind: c, text: c, line };
      at += 1;
    } else if (c === '{') {
      yield { kind: c, text: c, line };
      at += 1;
      if (/_by_lua_block$/.test(previous)) {
        const end = endOfBlock(text, at);
        line += newlines(text.slice(at, end));
        at = end;
      }
    } else {
      const word = c === '"' || c === "'" ? quoted(text, at) : bare(text, at);
      if (word === undefined) {
        onUnfinished(line);
        return;
      }
      yield { kind: 'word', text: word.text, line };
      previous = word.text;
      line += newlines(text.slice(at, word.end));
      at = word.end;
    }
  }
}

const newlines = (text: string) => text.split('\n').length - 1;

/** Another language: only its braces are counted. */
function endOfBlock(text: string, from: number): number {
  let depth = 1;
  for (let at = from; at < text.length; at += 1) {
    if (text[at] === '{') depth += 1;
    if (text[at] === '}') depth -= 1;
    if (depth === 0) return at;
  }
  return text.length;
}

interface Word {
  readonly text: string;
  readonly end: number;
}

function quoted(text: string, from: number): Word | undefined {
  const quote = text[from];
  let word = '';
  for (let at = from + 1; at < text.length; at += 1) {
    const c = text[at] as string;
    if (c === quote) return { text: word, end: at + 1 };
    if (c === '\\' && at + 1 < text.length) {
      at += 1;
      word += escapedAs(text[at] as string);
    } else word += c;
  }
  return undefined;
}

function bare(text: string, from: number): Word {
  let word = '';
  let at = from;
  for (; at < text.length; at += 1) {
    const c = text[at] as string;
    // ${name} is a variable and no block.
    if (c === '{' && word.endsWith('$')) {
      const end = text.indexOf('}', at);
      if (end !== -1 && /^\w*$/.test(text.slice(at + 1, end))) {
        word += text.slice(at, end + 1);
        at = end;
        continue;
      }
    }
    if (/[\s;{}]/.test(c)) break;
    if (c === '\\' && at + 1 < text.length) {
      at += 1;
      word += escapedAs(text[at] as string);
    } else word += c;
  }
  return { text: word, end: at };
}

/** Another character stays with its backslash: it may be of a regular expression. */
function escapedAs(c: string): string {
  if (c === '"' || c === "'" || c === '\\') return c;
  return { t: '\t', r: '\r', n: '\n' }[c] ?? `\\${c}`;
}
