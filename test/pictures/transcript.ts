/**
 * What scripts/demo printed, as a picture of a terminal. Lines appear one after another, once; where nothing moves (a still
 * picture, prefers-reduced-motion) all of them are there.
 */
import { escapeXml, svg } from './svg.ts';

/** A line as the program printed it: its text, and whether it is a heading, a command, or what one answered. */
export interface Line {
  readonly kind: 'heading' | 'command' | 'output';
  readonly text: string;
}

/** As scripts/demo and scripts/setup.sh have them. */
const HEADING = '\u001b[1m';
const COMMAND = '\u001b[36m';
const RESET = '\u001b[0m';

/** Commands that the picture leaves out, with their output: they are of the demo's making, or say nothing new. */
const LEFT_OUT: readonly RegExp[] = [
  /^\$ openssl req .* 0x1001 /,
  /^\$ secretsfs (inspect|wait|status|unmount) /,
  /^\$ secretsfs status$/,
  /^\$ (rm|ls|findmnt|nginx) /,
];

const WIDTH = 900;
const MARGIN = 22;
const BAR = 34;
const LINE = 19;
/** Above a heading. */
const GAP = 7;
const FONT = 14;
/** How long it takes to the next line: people type, programs don't. */
const SECONDS = { heading: 0.5, command: 0.4, output: 0.08 };

const STYLE = `.page{fill:#0d1117;stroke:#30363d}
text{font:${FONT}px ui-monospace,monospace;fill:#e6edf3;white-space:pre;animation:appear .01s backwards}
.heading{font-weight:700;fill:#fff}
.command{fill:#56d4dd}
text.bar{font-family:system-ui,sans-serif;font-size:13px;fill:#9da7b3;text-anchor:middle;animation:none}
@keyframes appear{from{opacity:0}}
@media (prefers-reduced-motion:reduce){text{animation:none}}
`;

/** Refuses an escape sequence that it does not know. The directory of the demo, which has a new name each time, is /tmp/demo. */
export function linesOf(recorded: string): Line[] {
  return recorded
    .trimEnd()
    .split('\n')
    .map((line): Line => {
      const text = line.replaceAll(/\/tmp\/secretsfs-demo\.\w+/g, '/tmp/demo');
      for (const [start, kind] of [
        [HEADING, 'heading'],
        [COMMAND, 'command'],
      ] as const) {
        if (text.startsWith(start) && text.endsWith(RESET))
          return { kind, text: plain(text.slice(start.length, -RESET.length)) };
      }
      return { kind: 'output', text: plain(text) };
    });
}

function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  if (/[\u0000-\u001f\u007f-\u009f]/.test(text)) throw new Error(`not plain text: ${JSON.stringify(text)}`);
  return text;
}

/** Without the commands that are left out, headings below which nothing is left, and what precedes the first heading with commands. */
export function shorten(lines: readonly Line[]): Line[] {
  let shown = true;
  const kept = lines.filter(({ kind, text }) => {
    if (kind !== 'output') shown = !LEFT_OUT.some((pattern) => pattern.test(text));
    return shown;
  });
  return kept
    .filter(({ kind }, i) => kind !== 'heading' || !['heading', undefined].includes(kept[i + 1]?.kind))
    .map(({ kind, text }) => ({ kind, text: text.replace(/ -newkey .* -set_serial/, ' … -set_serial') }));
}

/** The picture. */
export function terminal(recorded: string): string {
  const lines = shorten(linesOf(recorded));
  let seconds = 0;
  let y = BAR;
  const body = lines.map(({ kind, text }, i) => {
    seconds += SECONDS[kind];
    y += kind === 'heading' && i > 0 ? LINE + GAP : LINE;
    return `<text xml:space="preserve" class="${kind}" x="${MARGIN}" y="${y}" style="animation-delay:${seconds.toFixed(2)}s">${escapeXml(text)}</text>`;
  });
  const dots = [0, 1, 2]
    .map((i) => `<circle cx="${MARGIN + 4 + i * 18}" cy="17" r="5.5" fill="#484f58"/>`)
    .join('');
  return svg({
    title: 'scripts/demo in a terminal',
    description: lines.map(({ text }) => text).join('\n'),
    width: WIDTH,
    height: y + MARGIN,
    style: STYLE,
    body: [
      dots,
      `<text class="bar" x="${WIDTH / 2}" y="22">sudo scripts/demo (shortened)</text>`,
      ...body,
    ].join('\n'),
  });
}
