/** What all pictures of the documents share: colours for light and dark, and words for who can't see them. */

export interface Picture {
  readonly title: string;
  readonly description: string;
  readonly width: number;
  readonly height: number;
  /** CSS besides THEME. */
  readonly style?: string;
  readonly body: string;
}

/** Those of docs/architecture.svg. */
const THEME = `.page{fill:#fff}
text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#24292f}
.title{font-weight:600;font-size:16px}
.on{font-size:12px;fill:#57606a}
.end{text-anchor:end}
.middle{text-anchor:middle}
.grid{stroke:#d0d7de}
.ours{fill:#0969da;stroke:#0969da}
.other{fill:#8c959f;stroke:#8c959f}
text.ours{stroke:none;font-weight:600}
rect.ours,rect.other,path.ours{stroke:none}
.bound{stroke:#cf222e;stroke-dasharray:4 3}
.tick{stroke:#24292f;stroke-width:1.5;fill:none}
@media (prefers-color-scheme:dark){
.page{fill:#0d1117}
text,text.other{fill:#e6edf3}
.on{fill:#9da7b3}
.grid{stroke:#30363d}
.ours,text.ours{fill:#58a6ff;stroke:#58a6ff}
.other{fill:#6e7681;stroke:#6e7681}
text.ours{stroke:none}
.bound{stroke:#ff7b72}
.tick{stroke:#e6edf3}
}`;

/** A whole document, that says what it shows. */
export function svg({ title, description, width, height, style = '', body }: Picture): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="title desc">
<title id="title">${escapeXml(title)}</title>
<desc id="desc">${escapeXml(description)}</desc>
<style>
${THEME}
${style}</style>
<rect class="page" width="${width}" height="${height}" rx="8"/>
${body}
</svg>
`;
}

export function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

/** Text with its top left corner's x, and the y of its base line. */
export function label(x: number, y: number, text: string, kind = ''): string {
  const attribute = kind === '' ? '' : ` class="${kind}"`;
  return `<text${attribute} x="${short(x)}" y="${short(y)}">${escapeXml(text)}</text>`;
}

/** A coordinate, to a tenth. */
export function short(value: number): string {
  return String(Number(value.toFixed(1)));
}
