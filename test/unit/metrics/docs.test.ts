/** docs/metrics.md, the dashboard and the alert rules name metrics that there are. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import * as z from 'zod';
import { METRICS } from '../../../src/metrics/catalogue.ts';
import { REPOSITORY } from '../../support/paths.ts';

const read = (file: string) => readFileSync(path.join(REPOSITORY, 'docs', file), 'utf8');

/** Asserts that each metric in a PromQL expression exists, in the form of its type, with labels that it has. */
function check(expression: string): void {
  let found = 0;
  for (const [, name = '', matchers = ''] of expression.matchAll(/\b(secretsfs_\w+|up\b)(?:\{([^}]*)\})?/g)) {
    found++;
    const labels = [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*"/g)].map(([, label = '']) => label);
    const own = labels.filter((label) => label !== 'instance' && label !== 'job');
    if (name === 'up') {
      assert.deepEqual(own, []);
      continue;
    }
    const base = name.replace(/_(bucket|sum|count)$/, '');
    const metric = Object.entries(METRICS).find(([known, { type }]) => {
      return type === 'histogram' ? known === base && name !== base : known === name;
    });
    assert.ok(metric !== undefined, `${name} in ${expression}`);
    for (const label of own)
      assert.ok((metric[1].labels as readonly string[]).includes(label), `${label} of ${name}`);
    const isRate = new RegExp(`(rate|increase)\\(${name}`).test(expression);
    assert.equal(isRate, metric[1].type !== 'gauge', `${name}: a rate is of a counter`);
  }
  assert.ok(found > 0, `no metric in ${expression}`);
  const count = (character: string) => expression.split(character).length;
  for (const pair of ['()', '{}', '[]']) assert.equal(count(pair[0] ?? ''), count(pair[1] ?? ''), expression);
}

test('docs/metrics.md has a row for each metric, as it is, and no other', () => {
  const rows = [...read('metrics.md').matchAll(/^\| `(secretsfs_\w+)` \| (\w+) \| (.+?) \| (.+) \|$/gm)];
  const documented = rows.map(([, name, type, labels, help]) => ({ name, type, labels, help }));
  const expected = Object.entries(METRICS).map(([name, { type, labels, help }]) => {
    return { name, type, labels: labels.map((label) => `\`${label}\``).join(', ') || '–', help };
  });
  assert.deepEqual(documented, expected);
});

test('names are those of Prometheus: counters end in _total, times and sizes in base units', () => {
  for (const [name, { type }] of Object.entries(METRICS)) {
    assert.match(name, /^secretsfs_[a-z]+(_[a-z]+)*$/);
    assert.equal(name.endsWith('_total'), type === 'counter', name);
    assert.doesNotMatch(name, /_(ms|milliseconds|kb|mb|percent)(_|$)/);
  }
});

const alertsSchema = z.strictObject({
  groups: z
    .array(
      z.strictObject({
        name: z.string(),
        rules: z.array(
          z.strictObject({
            alert: z.string().regex(/^Secretsfs[A-Z]\w+$/),
            expr: z.string(),
            for: z.string().regex(/^\d+[smh]$/),
            labels: z.strictObject({ severity: z.enum(['warning', 'critical']) }),
            annotations: z.strictObject({ summary: z.string() }),
          }),
        ),
      }),
    )
    .length(1),
});

test('each alert is well-formed, of metrics that there are, and explained', () => {
  const rules = alertsSchema.parse(parse(read('alerts.yaml'))).groups[0]?.rules ?? [];
  for (const { expr } of rules) check(expr);
  const explained = [...read('metrics.md').matchAll(/^\| `(Secretsfs\w+)` \|/gm)].map(
    ([, name = '']) => name,
  );
  assert.deepEqual(explained.sort(), rules.map(({ alert }) => alert).sort());
  assert.ok(rules.length >= 8);
});

const dashboardSchema = z.object({
  panels: z.array(
    z.object({
      id: z.number(),
      title: z.string(),
      gridPos: z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() }),
      targets: z.array(z.object({ refId: z.string(), expr: z.string(), legendFormat: z.string() })).min(1),
    }),
  ),
});

test('each panel of the dashboard is of metrics that there are', () => {
  const { panels } = dashboardSchema.parse(JSON.parse(read('grafana-dashboard.json')));
  for (const { targets } of panels) for (const { expr } of targets) check(expr);
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  const places = panels.map(({ gridPos: { x, y } }) => `${x} ${y}`);
  assert.equal(new Set(places).size, panels.length);
});

test('what an expression gets wrong is found', () => {
  for (const wrong of [
    'secretsfs_nothing > 0',
    'secretsfs_state{reason="x"}',
    'secretsfs_opens_total > 0',
    'rate(secretsfs_serial[5m])',
    'rate(secretsfs_request_duration_seconds[5m])',
    'rate(secretsfs_opens_total[5m]',
    '1 > 0',
  ]) {
    assert.throws(() => check(wrong), wrong);
  }
});
