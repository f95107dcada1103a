/**
 * Horizontal bars with what they spread over, or the single measurements as dots with a stroke at their median. Each panel
 * has an axis of its own, which begins at 0.
 */
import { label, short, svg } from './svg.ts';

export interface Row {
  readonly name: string;
  /** Drawn in the colour of secretsfs. */
  readonly ours: boolean;
  /** A median. */
  readonly value: number;
  readonly spread?: readonly [number, number];
  /** Then dots take the place of the bar. */
  readonly samples?: readonly number[];
  /** What is not to be exceeded: a broken line. */
  readonly bound?: number;
}

export interface Panel {
  readonly title: string;
  readonly unit: string;
  /** Of the printed values. */
  readonly digits: number;
  readonly rows: readonly Row[];
}

export interface Plot {
  readonly title: string;
  readonly description: string;
  readonly panels: readonly Panel[];
  /** Lines below: how it was measured, and on what. */
  readonly notes: readonly string[];
}

const WIDTH = 880;
const RIGHT = 765;
const MARGIN = 20;
const TITLE = 40;
const PANEL_TITLE = 26;
const ROW = 26;
const BAR = 14;
const AXIS = 30;
const NOTE = 17;
/** At most so wide is a bold letter, on average. */
const LETTER = 7.8;
/** About so many lines of a grid. */
const STEPS = 5;
/** Dots are moved up and down in turn, so that equal ones are seen. */
const JITTER = [0, -5, 5, -2.5, 2.5] as const;

type Scale = (value: number) => number;

export function plot({ title, description, panels, notes }: Plot): string {
  const longest = Math.max(...panels.flatMap(({ rows }) => rows.map(({ name }) => name.length)));
  const left = MARGIN + 20 + longest * LETTER;
  const parts = [label(MARGIN, 30, title, 'title')];
  let y = TITLE;
  for (const panel of panels) {
    parts.push(`<g transform="translate(0 ${y})">\n${panelOf(panel, left)}\n</g>`);
    y += PANEL_TITLE + panel.rows.length * ROW + AXIS;
  }
  for (const note of notes) {
    y += NOTE;
    parts.push(label(MARGIN, y, note, 'on'));
  }
  return svg({ title, description, width: WIDTH, height: y + MARGIN, body: parts.join('\n') });
}

function panelOf({ title, unit, digits, rows }: Panel, left: number): string {
  const all = rows.flatMap(({ value, spread = [], samples = [], bound = 0 }) => [
    value,
    ...spread,
    ...samples,
    bound,
  ]);
  const most = Math.max(...all);
  const step = niceStep(most);
  const steps = Math.floor(most / step) + 1;
  const scale: Scale = (value) => left + (value / (steps * step)) * (RIGHT - left);
  const bottom = PANEL_TITLE + rows.length * ROW;
  const parts = [label(MARGIN, 16, title)];
  for (let i = 0; i <= steps; i++) {
    const x = scale(i * step);
    parts.push(`<path class="grid" d="M${short(x)} ${PANEL_TITLE - 4}V${bottom}"/>`);
    parts.push(label(x, bottom + 15, `${number(i * step, 0)} ${unit}`, 'on middle'));
  }
  for (const [i, row] of rows.entries()) {
    const y = PANEL_TITLE + i * ROW + ROW / 2;
    const value = `${number(row.value, digits)} ${unit}`;
    parts.push(label(left - 10, y + 4, row.name, row.ours ? 'ours end' : 'end'));
    parts.push(row.samples === undefined ? bar(row, y, scale) : dots(row, row.samples, y, scale));
    parts.push(label(RIGHT + 14, y + 4, value, row.ours ? 'ours' : ''));
  }
  return parts.join('\n');
}

/** y is the middle of the row, here and below. */
function bar({ ours, value, spread }: Row, y: number, scale: Scale): string {
  const at = `x="${short(scale(0))}" y="${y - BAR / 2}" width="${short(scale(value) - scale(0))}" height="${BAR}"`;
  const rectangle = `<rect class="${kindOf(ours)}" ${at}/>`;
  if (spread === undefined) return rectangle;
  const [low, high] = spread.map(scale) as [number, number];
  return `${rectangle}<path class="tick" d="${stroke(low, y, 4)}${stroke(high, y, 4)}M${short(low)} ${y}H${short(high)}"/>`;
}

function dots({ ours, value, bound }: Row, samples: readonly number[], y: number, scale: Scale): string {
  const limit = bound === undefined ? '' : `<path class="bound" d="${stroke(scale(bound), y, ROW / 2)}"/>`;
  const circles = samples.map((sample, i) => {
    const at = `cx="${short(scale(sample))}" cy="${y + (JITTER[i % JITTER.length] ?? 0)}"`;
    return `<circle class="${kindOf(ours)}" fill-opacity=".5" ${at} r="3"/>`;
  });
  return `${limit}${circles.join('')}<path class="tick" d="${stroke(scale(value), y, 10)}"/>`;
}

function kindOf(ours: boolean): string {
  return ours ? 'ours' : 'other';
}

/** An upright line, so far up and down from y. */
function stroke(x: number, y: number, half: number): string {
  return `M${short(x)} ${short(y - half)}v${2 * half}`;
}

/** 1, 2 or 5 times a power of ten. */
function niceStep(most: number): number {
  const power = 10 ** Math.floor(Math.log10(most / STEPS));
  return power * ([1, 2, 5, 10].find((factor) => most / (factor * power) <= STEPS + 1) ?? 10);
}

function number(value: number, digits: number): string {
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
