/** What is wrong with a setting, in one line for people: the schemas' own words are for programmers. Pure. */
import type * as z from 'zod';

type Issue = z.core.$ZodIssue;

const WANTED: Readonly<Record<string, string>> = {
  object: 'a mapping (key: value)',
  record: 'a mapping (key: value)',
  array: 'a list',
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
};
const FOUND: Readonly<Record<string, string>> = {
  object: 'is a mapping',
  array: 'is a list',
  string: 'is text',
  number: 'is a number',
  boolean: 'is true or false',
  null: 'has no value',
};

/** Without the setting's name. */
export function problemOf(issue: Issue | undefined): string {
  if (issue?.code === 'invalid_union') return problemOfUnion(issue);
  if (issue?.code === 'invalid_type') return wrongType([issue.expected], issue);
  return firstLine(issue?.message ?? 'is wrong').replace(/^Invalid input: /, '');
}

/** Of a list-or-text the list's words, where it is a list; else what it could be. */
function problemOfUnion({ errors }: z.core.$ZodIssueInvalidUnion): string {
  const issues = errors.flat();
  const custom = issues.find((each) => each.code === 'custom');
  if (custom !== undefined) return custom.message;
  const inside = issues.find(({ path }) => path.length > 0);
  if (inside !== undefined) {
    const at = inside.path.map((name) => (typeof name === 'number' ? `entry ${name + 1}` : String(name)));
    return `${at.join(', ')} ${problemOf(inside)}`;
  }
  const types = issues.filter((each) => each.code === 'invalid_type');
  return types[0] === undefined
    ? 'is of the wrong type'
    : wrongType(
        types.map((each) => each.expected),
        types[0],
      );
}

function wrongType(expected: readonly string[], { message }: Issue): string {
  const found = /received (\w+)/.exec(message)?.[1];
  if (found === 'undefined') return 'is missing';
  const wanted = [...new Set(expected.map((type) => WANTED[type] ?? type))].join(', or ');
  return `must be ${wanted}, and ${FOUND[found ?? ''] ?? 'is something else'}`;
}

export function firstLine(message: string): string {
  return message.split('\n')[0] ?? '';
}
