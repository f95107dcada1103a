/** The YAML file of --config: its text to settings. An error says what is wrong with which key, at which line and column. */
import { type Document, isMap, isNode, isScalar, LineCounter, parseDocument } from 'yaml';
import { ConfigError, quote } from '../errors.ts';
import { SECTION_NAMES, SETTING_NAMES, type Settings, settingsSchema } from './config.ts';
import { firstLine, problemOf } from './config-problems.ts';
import { PART_KEYS } from './mounts-settings.ts';

/** A config is a page of text. This keeps a wrong file name from being read whole. */
export const CONFIG_BYTES_MAX = 1024 * 1024;

const KEYS: readonly string[] = [...SETTING_NAMES, ...SECTION_NAMES];
const WHAT_SETTINGS_TAKE = 'docs/cli-abi.md lists the settings and what each takes';

/** The settings of a YAML file. Throws ConfigError with path, line, column and key. */
export function parseConfig(path: string, yaml: string): Settings {
  const lines = new LineCounter();
  const document = parseDocument(yaml, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number, key: string | undefined, problem: string, hint = WHAT_SETTINGS_TAKE) => {
    const { line, col } = lines.linePos(offset);
    const place = `${quote(path)}, line ${line}, column ${col}`;
    const about = key === undefined ? '' : `${key}: `;
    return new ConfigError('config-invalid', `cannot use ${place}: ${about}${problem}`, { hint });
  };
  const syntax = document.errors[0];
  if (syntax !== undefined)
    throw at(syntax.pos[0], undefined, firstLine(syntax.message), 'a config is YAML: key: value');
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 10 });
  } catch (error) {
    // An alias without an anchor, or a bomb of them; or a thousand brackets.
    const problem =
      error instanceof RangeError ? 'it is nested too deeply' : firstLine((error as Error).message);
    throw at(0, undefined, problem, 'a config needs no anchors and aliases, and few levels');
  }
  if (value === null) return {};
  const result = settingsSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  if (issue?.code === 'unrecognized_keys') {
    const key = issue.keys[0] ?? '';
    const inside = issue.path as (string | number)[];
    const parent = inside.length === 0 ? document.contents : document.getIn(inside, true);
    const keys = keysOf(inside);
    const known = nearest(key, keys);
    const list = keys.length === 0 ? WHAT_SETTINGS_TAKE : `known keys: ${keys.join(', ')}`;
    const hint = known === undefined ? list : `did you mean ${known}?`;
    throw at(keyOffset(parent, key), written([...inside, key]), 'is not a setting', hint);
  }
  const [key, ...rest] = (issue?.path ?? []) as (string | number)[];
  if (key === undefined)
    throw at(0, undefined, 'must be a mapping of settings', 'a config is YAML: key: value');
  throw at(offsetOf(document, [key, ...rest]), written([key, ...rest]), problemOf(issue));
}

/** A path of keys; in quotes where it could not be told from others. */
function written(path: readonly (string | number)[]): string {
  return path.map((key) => (/^[\w-]+$/.test(`${key}`) ? key : quote(`${key}`))).join('.');
}

/** Of a value; of what is above it where there is none. */
function offsetOf(document: Document, path: readonly (string | number)[]): number {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node)) return node.range?.[0] ?? 0;
  }
  return 0;
}

function keyOffset(contents: unknown, key: string): number {
  if (!isMap(contents)) return 0;
  const found = contents.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === key);
  return isScalar(found?.key) ? (found.key.range?.[0] ?? 0) : 0;
}

/** What may stand there: in the file itself, and below a directory of mounts:. */
function keysOf(path: readonly (string | number)[]): readonly string[] {
  if (path.length === 0) return KEYS;
  return path.length === 2 && path[0] === 'mounts' ? PART_KEYS : [];
}

/** The setting that `key` is most likely a slip of: written in another case, with dashes, as a plural, or with one letter wrong. */
function nearest(key: string, keys: readonly string[]): string | undefined {
  const plain = (name: string) => name.replaceAll(/[-_]/g, '').toLowerCase();
  const same = keys.find((name) => plain(name) === plain(key) || `${plain(name)}s` === plain(key));
  return same ?? keys.find((name) => name.length > 3 && isSlip(plain(key), plain(name)));
}

/** One letter more, less or another. */
function isSlip(key: string, name: string): boolean {
  let start = 0;
  while (start < key.length && key[start] === name[start]) start++;
  const rest = (text: string, from: number) => text.slice(start + from);
  return rest(key, 1) === rest(name, 1) || rest(key, 1) === rest(name, 0) || rest(key, 0) === rest(name, 1);
}
