/** What dashboard, alert rules and KEDA ask for, against the metrics that there are. */
import { globSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { type MetricRow, metricTable } from '../../src/telemetry/metric-table.ts';

interface Rule {
  alert?: string;
  record?: string;
  expr: string;
  annotations?: Record<string, string>;
}

const dashboard = JSON.parse(readFileSync('deploy/grafana/holdfast.json', 'utf8'));
const rules = (
  parse(readFileSync('deploy/prometheus/holdfast.rules.yml', 'utf8')) as {
    groups: { rules: Rule[] }[];
  }
).groups.flatMap((group) => group.rules);
const recorded = rules.flatMap(({ record }) => record ?? []);

/** All strings under a key, at any depth. */
function under(key: string, value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) =>
    name === key && typeof inner === 'string' ? [inner] : under(key, inner),
  );
}

const samples = new Map(
  Object.entries(metricTable).flatMap(([name, row]: [string, MetricRow]) => {
    const names =
      row.type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : [name];
    const labels = new Set(['job', 'instance', ...row.labels, ...(row.buckets ? ['le'] : [])]);
    return names.map((sample) => [sample, labels] as const);
  }),
);

/** Names of metrics in a query that do not exist, and labels that its selectors invent. */
function problemsOf(query: string): string[] {
  const problems: string[] = [];
  const known = query.replaceAll(/[a-z_]+:\w+:\w+/g, (name) => {
    if (!recorded.includes(name)) problems.push(`${name} is not recorded`);
    return '';
  });
  for (const [, name, selector] of known.matchAll(
    /\b((?:holdfast|process|nodejs)_\w+)(?:\{([^}]*)\})?/g,
  )) {
    const labels = samples.get(name!);
    if (!labels) problems.push(`there is no ${name}`);
    for (const [, label] of (selector ?? '').matchAll(/(\w+) *(?:=~|!~|!=|=)/g)) {
      if (!labels?.has(label!)) problems.push(`${name} has no label ${label}`);
    }
  }
  return problems;
}

describe('queries', () => {
  it('of the dashboard name metrics and labels that exist', () => {
    const queries = [
      ...under('expr', dashboard),
      ...under('definition', dashboard).map((text) => text.replace(/^label_values\(/, '')),
    ];
    expect(queries.length).toBeGreaterThan(40);
    expect(queries.flatMap(problemsOf)).toEqual([]);
  });

  it('of the alert rules name metrics and labels that exist', () => {
    expect(rules.flatMap(({ expr }) => problemsOf(expr))).toEqual([]);
  });

  it('of KEDA name metrics that exist', () => {
    const files = globSync('deploy/kubernetes/**/*.yaml').map((path) => readFileSync(path, 'utf8'));
    const queries = files.flatMap(
      (text) => text.match(/query: >-\n(?: {10}.*\n)+|query: .*/g) ?? [],
    );
    expect(queries.join()).toContain('holdfast_queue_backlog_jobs');
    expect(queries.flatMap(problemsOf)).toEqual([]);
  });

  it('are refused when they name what does not exist', () => {
    expect(problemsOf('rate(holdfast_jobs_totals[5m])')).toHaveLength(1);
    expect(problemsOf('holdfast_jobs_total{quue="a"}')).toHaveLength(1);
    expect(problemsOf('queue:made_up:max > 0')).toHaveLength(1);
    expect(problemsOf('holdfast_job_wait_seconds{queue="a"}')).not.toEqual([]);
  });
});

describe('every metric', () => {
  it('is on the dashboard', () => {
    const shown = JSON.stringify(dashboard);
    const missing = Object.keys(metricTable).filter((name) => !shown.includes(name));
    expect(missing).toEqual([]);
  });
});

describe('every alert', () => {
  it('says what is so, what it means and what to do, and how urgent it is', () => {
    const alerts = rules.filter(({ alert }) => alert !== undefined);
    for (const { alert, annotations } of alerts) {
      expect(Object.keys(annotations ?? {}), alert).toEqual(['summary', 'description', 'action']);
    }
  });
});

describe('panels of the dashboard', () => {
  it('have a title and a description, and do not lie on each other', () => {
    const panels = dashboard.panels as {
      type: string;
      title: string;
      description?: string;
      gridPos: { x: number; y: number; w: number; h: number };
    }[];
    const taken = new Set<string>();
    for (const { type, title, description, gridPos } of panels) {
      expect(title).not.toBe('');
      if (type !== 'row') expect(description, title).toMatch(/\w/);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(x).toBeLessThan(24);
          expect(taken.has(`${x},${y}`), title).toBe(false);
          taken.add(`${x},${y}`);
        }
      }
    }
  });
});
