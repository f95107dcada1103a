/**
 * YAML, by the parser that reads configs. It is loaded only where a config asks for it. Its messages quote what it read;
 * only its code and its place come out. It keeps the contents in strings, which die with the unsealer.
 */
import { Buffer } from 'node:buffer';
import { parseAllDocuments } from 'yaml';
import { type FormatProblem, problemAt, textProblem } from './text.ts';

/** Brackets upon brackets of a mebibyte take it some ten seconds. */
export const YAML_BYTES_MAX = 256 * 1024;

/** It compares each key with each. */
const UNIQUE_KEYS_BYTES_MAX = 64 * 1024;

/** Codes of the parser in our words. */
const EXPECTED: Readonly<Record<string, string>> = {
  ALIAS_PROPS: 'no anchor or tag on an alias',
  BAD_DIRECTIVE: 'a directive that YAML knows',
  BAD_DQ_ESCAPE: 'an escape that YAML knows',
  BAD_INDENT: 'lines that are indented alike',
  BLOCK_AS_IMPLICIT_KEY: 'a key on one line',
  BLOCK_IN_FLOW: 'no block inside brackets',
  DUPLICATE_KEY: 'a key that is there once',
  MISSING_CHAR: 'a character that YAML needs here, such as a quote, a comma or a space',
  MULTILINE_IMPLICIT_KEY: 'a key on one line',
  TAB_AS_INDENT: 'spaces for indentation',
};

const UNNAMED = 'what YAML allows there';

/** The first thing that makes it none. */
export function yamlProblem(data: Uint8Array): FormatProblem | undefined {
  const problem = textProblem(data);
  if (problem !== undefined) return problem;
  if (data.length > YAML_BYTES_MAX)
    return problemAt(data, 0, `at most ${YAML_BYTES_MAX} bytes`, `${data.length}`);
  const text = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString();
  try {
    const documents = parseAllDocuments(text, {
      prettyErrors: false,
      logLevel: 'silent',
      uniqueKeys: data.length <= UNIQUE_KEYS_BYTES_MAX,
    });
    if (!Array.isArray(documents)) return undefined;
    for (const { errors } of documents) {
      const error = errors[0];
      if (error === undefined) continue;
      const at = Buffer.byteLength(text.slice(0, error.pos[0]));
      return problemAt(data, at, EXPECTED[error.code] ?? UNNAMED, 'something else');
    }
    return undefined;
  } catch {
    // RangeError: a thousand brackets. Whatever else it throws has the content in it.
    return problemAt(data, 0, UNNAMED, 'levels without end, or what the parser does not know');
  }
}
