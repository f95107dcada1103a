/**
 * The fenced blocks of README.md and docs/*.md. Each says, in a comment of one line before it, which tests do what it
 * says, or why there is nothing to do:
 *
 *   <!-- test: GROUP, GROUP -->      tests read it by blocksOf('GROUP') or stepsOf('GROUP')
 *   <!-- test: GROUP file=NAME -->   the same; among the steps it is the file NAME
 *   <!-- output -->                  what a program prints
 *   <!-- layout -->                  a picture, a grammar: of bytes, of processes
 *   <!-- not run: REASON -->
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { REPOSITORY } from './paths.ts';

export interface Block {
  /** `docs/boot.md:31`: of the line that opens it. */
  readonly place: string;
  readonly language: string;
  /** Its lines, without the indentation of the fence, each with its newline. */
  readonly body: string;
  /** What stands in the comment; empty where there is none. */
  readonly mark: string;
  readonly groups: readonly string[];
  readonly file: string | undefined;
}

/** Relative to the repository. */
export const DOCUMENTS: readonly string[] = [
  'README.md',
  ...readdirSync(path.join(REPOSITORY, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => `docs/${name}`),
];

function readDocument(name: string): string {
  return readFileSync(path.join(REPOSITORY, name), 'utf8');
}

const FENCED = /^(?:^ *<!-- ([^\n]*) -->\n)?^( *)```(\w*)\n(.*?)^ *```$/gms;

/** Of all documents, in order. */
export function blocks(): Block[] {
  return DOCUMENTS.flatMap((document) => {
    const text = readDocument(document);
    return [...text.matchAll(FENCED)].map(
      ([whole, mark = '', indent = '', language = '', body = ''], i, all) => {
        const before = text.slice(0, (all[i]?.index ?? 0) + whole.indexOf('```'));
        const [, groups = '', file] = /^test: (.*?)(?: file=(\S+))?$/.exec(mark) ?? [];
        return {
          place: `${document}:${before.split('\n').length}`,
          language,
          body: body.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
          mark,
          groups: groups === '' ? [] : groups.split(', '),
          file,
        };
      },
    );
  });
}

/** Those of a group. Throws where there is none: who asks for it would test nothing. */
export function blocksOf(group: string): [Block, ...Block[]] {
  const [first, ...more] = blocks().filter(({ groups }) => groups.includes(group));
  if (first === undefined) throw new Error(`no document has a block with <!-- test: ${group} -->`);
  return [first, ...more];
}

/** Code in the middle of text; a line break in it is a space. */
export const spans: readonly { readonly place: string; readonly text: string }[] = DOCUMENTS.flatMap(
  (place) => {
    const text = readDocument(place).replaceAll(FENCED, '');
    return [...text.matchAll(/`([^`]+)`/g)].map(([, code = '']) => ({
      place,
      text: code.replaceAll(/\s+/g, ' ').replaceAll('\\|', '|'),
    }));
  },
);
