/** Bar charts below each other, as one small SVG. */
import { label, short, svg } from '../../pictures/svg.ts';

export interface Chart {
  readonly title: string;
  readonly unit: string;
  readonly bins: readonly number[];
  readonly mean: number;
  /** Below the first and the last bar. */
  readonly from: string;
  readonly to: string;
}

const WIDTH = 760;
const HEIGHT = 132;
const LEFT = 12;
const TOP = 30;
const BOTTOM = 26;
/** Below the charts: what the broken line is. */
const FOOT = 30;

export function plot(charts: readonly Chart[]): string {
  const total = charts.length * HEIGHT;
  const groups = charts.map((chart, i) => `<g transform="translate(0 ${i * HEIGHT})">${bars(chart)}</g>`);
  const foot = label(LEFT, total + 14, 'broken line: twice the mean, which no bin is to exceed', 'on');
  return svg({
    title: 'Requests of 1,000 instances, simulated',
    description: charts.map(headingOf).join('\n'),
    width: WIDTH,
    height: total + FOOT,
    body: [...groups, foot].join('\n'),
  });
}

function headingOf({ title, bins, mean, unit }: Chart): string {
  return `${title}: peak ${Math.max(...bins)}, mean ${mean.toFixed(1)} ${unit}`;
}

function bars(chart: Chart): string {
  const { bins, mean, from, to } = chart;
  const most = Math.max(...bins, 2 * mean);
  const height = HEIGHT - TOP - BOTTOM;
  const base = HEIGHT - BOTTOM;
  const width = (WIDTH - 2 * LEFT) / bins.length;
  const yOf = (value: number) => short(base - (value / most) * height);
  const path = bins
    .map((value, i) =>
      value === 0 ? '' : `M${short(LEFT + i * width)} ${base}V${yOf(value)}h${short(width * 0.9)}V${base}z`,
    )
    .join('');
  const twice = yOf(2 * mean);
  return [
    label(LEFT, 20, headingOf(chart)),
    `<path class="ours" d="${path}"/>`,
    `<path class="bound" d="M${LEFT} ${twice}H${WIDTH - LEFT}"/>`,
    label(LEFT, HEIGHT - 12, from, 'on'),
    label(WIDTH - LEFT, HEIGHT - 12, to, 'on end'),
  ].join('');
}
