/**
 * Prometheus' text format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats): families in the order of
 * the catalogue, each with its HELP and TYPE.
 *
 * Invariants: nothing is written that the catalogue does not name; no series twice, which would spoil the whole scrape;
 * what is not known is left out.
 */
import { escapeInvisible } from '../errors.ts';
import { METRICS, type MetricName } from './catalogue.ts';

export const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';
/** A longer value of a label is cut. */
const LABEL_LENGTH_MAX = 256;

export type Labels<N extends MetricName> = Readonly<Record<(typeof METRICS)[N]['labels'][number], string>>;

export class Exposition {
  /** Of a family, its lines by name and labels. */
  readonly #families = new Map<MetricName, Map<string, string>>();

  /** One sample of a counter or a gauge. One that has these labels already stays what it is. */
  add<N extends MetricName>(name: N, value: number | null | undefined, labels: Labels<N>): void {
    this.#line(name, name, value, labels);
  }

  /** `buckets`: samples up to each of `bounds`, not added up, and above the last one. Throws RangeError for too few. */
  histogram<N extends MetricName>(
    name: N,
    { bounds, buckets, sum }: { bounds: readonly number[]; buckets: readonly number[]; sum: number },
    labels: Labels<N>,
  ): void {
    if (buckets.length !== bounds.length + 1) throw new RangeError(`${name}: ${buckets.length} buckets`);
    let count = 0;
    buckets.forEach((samples, i) => {
      count += samples;
      const le = i === bounds.length ? '+Inf' : `${bounds[i]}`;
      this.#line(name, `${name}_bucket`, count, { ...labels, le });
    });
    this.#line(name, `${name}_sum`, sum, labels);
    this.#line(name, `${name}_count`, count, labels);
  }

  toString(): string {
    const names = Object.keys(METRICS) as MetricName[];
    return names
      .flatMap((name) => {
        const lines = this.#families.get(name);
        if (lines === undefined) return [];
        const { help, type } = METRICS[name];
        return [`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${type}`, ...lines.values()];
      })
      .map((line) => `${line}\n`)
      .join('');
  }

  #line(
    family: MetricName,
    name: string,
    value: number | null | undefined,
    labels: Readonly<Record<string, string>>,
  ): void {
    if (value === null || value === undefined || !Number.isFinite(value)) return;
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
    const series = pairs.length === 0 ? name : `${name}{${pairs.join(',')}}`;
    const lines = this.#families.get(family) ?? new Map<string, string>();
    this.#families.set(family, lines);
    if (!lines.has(series)) lines.set(series, `${series} ${value}`);
  }
}

function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

/** Of foreign text: one line, without what a terminal would obey. */
function escapeLabel(text: string): string {
  const shown = text.length > LABEL_LENGTH_MAX ? `${text.slice(0, LABEL_LENGTH_MAX - 1)}…` : text;
  return escapeInvisible(shown).replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
