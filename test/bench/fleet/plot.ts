/** Bar charts below each other, as one small SVG. */
export interface Chart {
  readonly title: string;
  readonly unit: string;
  readonly bins: readonly number[];
  readonly mean: number;
  /** Below the first and the last bar. */
  readonly from: string;
  readonly to: string;
}

const WIDTH = 640;
const HEIGHT = 120;
const LEFT = 8;
const TOP = 26;
const BOTTOM = 18;

export function plot(charts: readonly Chart[]): string {
  const total = charts.length * HEIGHT;
  const style =
    'text{font:11px sans-serif;fill:#444}path{fill:#4a7ab5}line{stroke:#c33;stroke-dasharray:4 3}';
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${total}" width="${WIDTH}" height="${total}">
<style>${style}</style><rect width="${WIDTH}" height="${total}" fill="#fff"/>
${charts.map((chart, i) => `<g transform="translate(0 ${i * HEIGHT})">${bars(chart)}</g>`).join('\n')}
</svg>
`;
}

function bars({ title, unit, bins, mean, from, to }: Chart): string {
  const most = Math.max(...bins, 2 * mean);
  const height = HEIGHT - TOP - BOTTOM;
  const base = HEIGHT - BOTTOM;
  const width = (WIDTH - 2 * LEFT) / bins.length;
  const yOf = (value: number) => round(base - (value / most) * height);
  const path = bins
    .map((value, i) =>
      value === 0 ? '' : `M${round(LEFT + i * width)} ${base}V${yOf(value)}h${round(width * 0.9)}V${base}z`,
    )
    .join('');
  const twice = yOf(2 * mean);
  return [
    `<text x="${LEFT}" y="14">${title}: peak ${Math.max(...bins)}, mean ${mean.toFixed(1)} ${unit}</text>`,
    `<path d="${path}"/>`,
    `<line x1="${LEFT}" x2="${WIDTH - LEFT}" y1="${twice}" y2="${twice}"/>`,
    `<text x="${LEFT}" y="${HEIGHT - 5}">${from}</text>`,
    `<text x="${WIDTH - LEFT}" y="${HEIGHT - 5}" text-anchor="end">${to}</text>`,
  ].join('');
}

const round = (value: number) => Number(value.toFixed(1));
