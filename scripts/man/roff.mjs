/**
 * The language of manual pages, man(7), as far as ours need it. Whatever text() is given is shown as it is: nothing in it is a
 * request, an escape or another dash than the one on the keyboard (which matters to who copies an option).
 */

const GLYPHS = {
  '\\': '\\e',
  '-': '\\-',
  "'": '\\(aq',
  '"': '\\(dq',
  '`': '\\(ga',
  '^': '\\(ha',
  '~': '\\(ti',
};

/** One line of running text, which may stand at the beginning of a line and inside a quoted argument of a macro. */
export function text(plain) {
  const line = plain.replace(/\s+/gu, ' ').trim();
  const escaped = [...line].map((character) => {
    const code = character.codePointAt(0) ?? 0;
    if (code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0xd800 && code < 0xe000)) return '';
    return (
      GLYPHS[character] ??
      (code > 0x7e ? `\\[u${code.toString(16).toUpperCase().padStart(4, '0')}]` : character)
    );
  });
  const result = escaped.join('').trim();
  return result.startsWith('.') ? `\\&${result}` : result;
}

/** Font changes within a line: what is typed as it stands; what stands for something else. */
export const bold = (plain) => `\\fB${text(plain)}\\fR`;
export const italic = (plain) => `\\fI${text(plain)}\\fR`;

/** Section → what its pages have in the middle of their first line. */
const VOLUMES = { 1: 'User Commands', 5: 'File Formats', 8: 'System Administration' };

/** `title` as .TH takes it: in capitals by custom. `date`: YYYY-MM-DD. */
export function page(title, section, { date, version }, body) {
  const head = `.TH "${text(title.toUpperCase())}" "${section}" "${date}" "${text(`secretsfs ${version}`)}" "${VOLUMES[section]}"`;
  // A heading begins a paragraph by itself.
  const lines = body.filter((line, i) => !(line === '.PP' && /^\.S[HS] /.test(body[i - 1] ?? '')));
  // No hyphens in names that somebody copies.
  return `${[head, '.nh', '.ad l', ...lines].join('\n')}\n`;
}

export const heading = (plain) => [`.SH "${text(plain.toUpperCase())}"`];
export const subheading = (plain) => [`.SS "${text(plain)}"`];
/** `line` is roff already, as of text(); none where it is empty: a paragraph of nothing is an error. */
export const paragraph = (line) => (line === '' ? [] : ['.PP', line]);
/** `tag` and `line` are roff. */
export const item = (tag, line) => ['.TP', tag, line === '' ? '\\&' : line];

/** Lines as they stand. */
export function literal(lines) {
  const shown = lines.map((line) => {
    const indent = /^ */.exec(line)?.[0] ?? '';
    return `${indent === '' ? '' : `\\&${indent}`}${text(line)}`;
  });
  return ['.PP', '.RS 4', '.nf', ...shown.map((line) => (line === '' ? '\\&' : line)), '.fi', '.RE'];
}
