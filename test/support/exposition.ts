/** Reads Prometheus' text format as strictly as it is written: whatever its rules do not allow is an error. */
import assert from 'node:assert/strict';

export interface Family {
  readonly type: string;
  readonly help: string;
  readonly samples: readonly {
    readonly name: string;
    readonly labels: Record<string, string>;
    readonly value: number;
  }[];
}

const LABEL = /([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/y;

export function parseExposition(text: string): Map<string, Family> {
  const families = new Map<string, { type: string; help: string; samples: Family['samples'][number][] }>();
  const seen = new Set<string>();
  let help: [string, string] | undefined;
  let current: string | undefined;
  assert.match(text, /\n$/);
  for (const line of text.slice(0, -1).split('\n')) {
    const [, helpOf, words] = /^# HELP ([a-z_]+) (.+)$/.exec(line) ?? [];
    const [, typeOf, type] = /^# TYPE ([a-z_]+) (counter|gauge|histogram)$/.exec(line) ?? [];
    if (helpOf !== undefined) {
      help = [helpOf, words ?? ''];
      continue;
    }
    if (typeOf !== undefined) {
      assert.equal(help?.[0], typeOf, `${typeOf}: HELP, then TYPE`);
      assert.ok(!families.has(typeOf), `${typeOf}: two families`);
      families.set(typeOf, { type: type ?? '', help: help?.[1] ?? '', samples: [] });
      current = typeOf;
      continue;
    }
    const [, name = '', inner = '', value = ''] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    const family = families.get(current ?? '');
    assert.ok(family !== undefined && name !== '', line);
    const suffixes = family.type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
    assert.ok(
      suffixes.some((suffix) => name === `${current}${suffix}`),
      `${name} among samples of ${current}`,
    );
    assert.ok(!seen.has(`${name}{${inner}}`), `twice: ${line}`);
    seen.add(`${name}{${inner}}`);
    const number = Number(value);
    assert.ok(Number.isFinite(number), line);
    if (family.type === 'counter') assert.ok(number >= 0 && name.endsWith('_total'), line);
    family.samples.push({ name, labels: parseLabels(inner), value: number });
  }
  return families;
}

function parseLabels(inner: string): Record<string, string> {
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  for (let at = 0; at < inner.length; at = LABEL.lastIndex) {
    const found = LABEL.exec(inner);
    assert.ok(found !== null, `labels: ${inner}`);
    const [, name = '', value = ''] = found;
    assert.ok(!Object.hasOwn(labels, name), `label twice: ${inner}`);
    labels[name] = value.replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c));
  }
  return labels;
}

/** The value of the one sample with these labels; undefined where there is none. */
export function sample(
  families: ReadonlyMap<string, Family>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''));
  const found = (family?.samples ?? []).filter(
    (each) =>
      each.name === name && Object.entries(labels).every(([label, value]) => each.labels[label] === value),
  );
  assert.ok(found.length <= 1, `${found.length} samples of ${name}`);
  return found[0]?.value;
}
