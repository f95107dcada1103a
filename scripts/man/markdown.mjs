/**
 * As much of Markdown as our documents use, to man(7): headings, paragraphs, lists, tables (the first cell becomes the tag of an
 * item), fenced code; inline `code`, **strong** and [links](…), of which the words stay.
 */
import { bold, item, literal, paragraph, subheading, text } from './roff.mjs';

/** What stands below a heading, up to the next one of its level or a higher one. Throws where there is none. */
export function sectionOf(markdown, title) {
  const lines = markdown.split('\n');
  const start = lines.findIndex((line) => line.startsWith('#') && line.replace(/^#+ /, '') === title);
  if (start < 0) throw new Error(`there is no heading ${JSON.stringify(title)}`);
  const level = /^#+/.exec(lines[start])[0].length;
  const length = lines
    .slice(start + 1)
    .findIndex((line) => (/^#+(?= )/.exec(line)?.[0].length ?? 9) <= level);
  return lines.slice(start + 1, length < 0 ? undefined : start + 1 + length);
}

/** One line of inline Markdown. */
export function inline(markdown) {
  const words = markdown
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replaceAll('\\|', '|')
    .replaceAll('**', '');
  const pieces = words.split(/(`[^`]+`)/);
  const shown = pieces.map((piece, i) => {
    if (i % 2 === 1) return bold(piece.slice(1, -1));
    // text() takes away the blanks at the ends, which are between words here.
    return `${/^\s/.test(piece) ? ' ' : ''}${text(piece)}${/\S\s+$/.test(piece) ? ' ' : ''}`;
  });
  return shown.join('').trim();
}

const cellsOf = (row) =>
  row
    .slice(1, -1)
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim());

/** Lines of roff. */
export function toMan(lines) {
  const out = [];
  let gathered = [];
  const flush = () => {
    const joined = gathered.join(' ').trim();
    out.push(...paragraph(inline(joined)));
    gathered = [];
  };
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i];
    if (line.startsWith('```')) {
      flush();
      const end = lines.findIndex((each, at) => at > i && each.startsWith('```'));
      out.push(...literal(lines.slice(i + 1, end)));
      i = end;
    } else if (/^#+ /.test(line)) {
      flush();
      out.push(...subheading(line.replace(/^#+ /, '').replaceAll('`', '')));
    } else if (line.startsWith('|')) {
      flush();
      // The heading and its rule are of a table, not of items.
      const isHeading = lines[i + 1]?.startsWith('|--') === true || line.startsWith('|--');
      const [tag = '', ...rest] = cellsOf(line);
      if (!isHeading) out.push(...item(inline(tag), inline(rest.filter((cell) => cell !== '').join('. '))));
    } else if (/^(\d+\.|-) /.test(line)) {
      flush();
      const [, mark, first] = /^(\d+\.|-) (.*)$/.exec(line);
      const more = [];
      while (/^ {2}\S/.test(lines[i + 1] ?? '')) more.push(lines[++i].trim());
      out.push(`.IP "${text(mark === '-' ? '*' : mark)}" 4`, inline([first, ...more].join(' ')));
    } else if (line.trim() === '') flush();
    else gathered.push(line);
  }
  flush();
  return out;
}
