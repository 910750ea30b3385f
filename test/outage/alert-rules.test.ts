/** The alert rules of deploy/prometheus, checked and unit-tested by Prometheus' own tool. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { promtool } from '../support/promtool.ts';

const RULES = 'deploy/prometheus/holdfast.rules.yml';
const TESTS = 'deploy/prometheus/holdfast.rules.test.yml';

let tool: string;
beforeAll(() => {
  tool = promtool();
});

const run = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(tool, args, { encoding: 'utf8' });
  return { status, output: `${stdout}${stderr}` };
};

describe('the alert rules', () => {
  it('are what Prometheus accepts', () => {
    expect(run('check', 'rules', RULES)).toMatchObject({ status: 0 });
  });

  it('fire when they should, and not when they should not', () => {
    expect(run('test', 'rules', TESTS)).toMatchObject({ status: 0 });
  });

  it('are each fired by a test', () => {
    const { groups } = parse(readFileSync(RULES, 'utf8')) as {
      groups: { rules: { alert?: string }[] }[];
    };
    const alerts = groups.flatMap(({ rules }) => rules.flatMap(({ alert }) => alert ?? []));
    const tests = readFileSync(TESTS, 'utf8');
    expect(alerts.length).toBeGreaterThan(10);
    expect(alerts.filter((alert) => !tests.includes(alert))).toEqual([]);
  });
});

describe('the dashboard', () => {
  it('asks for nothing that Prometheus cannot read', () => {
    const text = readFileSync('deploy/grafana/holdfast.json', 'utf8');
    const queries = [...text.matchAll(/"expr": "((?:\\.|[^"\\])*)"/g)].map(([, query]) =>
      (JSON.parse(`"${query}"`) as string)
        .replaceAll('$__rate_interval', '5m')
        .replaceAll('$__range', '1h'),
    );
    const rules = queries.map((expr, i) => ({ record: `query:${i}`, expr }));
    const file = join(mkdtempSync(join(tmpdir(), 'holdfast-queries-')), 'queries.yml');
    writeFileSync(file, stringify({ groups: [{ name: 'queries', rules }] }));
    expect(queries.length).toBeGreaterThan(40);
    expect(run('check', 'rules', file)).toMatchObject({ status: 0 });
  });
});
