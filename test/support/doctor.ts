/** The doctor within the test's process, on a configuration of the test's own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Config, RedisConfig } from '../../src/config.ts';
import { type DoctorOptions, diagnose, type Report } from '../../src/diagnose/doctor.ts';
import type { Finding } from '../../src/diagnose/finding.ts';
import { testConfig } from './config.ts';

export interface Examination extends Partial<DoctorOptions> {
  redis?: Partial<RedisConfig>;
  config?: Partial<Config>;
  warnings?: string[];
}

/** What the doctor says of this Redis; with a data folder of its own that is removed. */
export async function examine(url: string | undefined, given: Examination = {}): Promise<Report> {
  const dataDir = mkdtempSync(join(tmpdir(), 'holdfast-test-doctor-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  const plain = testConfig();
  const { resilience } = plain;
  const config = testConfig({
    dataDir,
    redis: { ...plain.redis, url, ...given.redis },
    resilience: {
      ...resilience,
      journal: { ...resilience.journal, dir: join(dataDir, 'journal') },
    },
    ...given.config,
  });
  const loaded = { config, effective: [], warnings: given.warnings ?? [] };
  return await diagnose(() => loaded, { version: '0.0.0-test', ...given });
}

/** What is wrong, without what is always so of a server that a test has just started. */
export function problems({ findings }: Report): Finding[] {
  return findings.filter(
    ({ status, condition }) =>
      (status === 'warn' || status === 'fail') && condition !== 'server-restarted',
  );
}

/** The one thing that is wrong; fails when there are others. */
export function theProblem(report: Report): Finding {
  const found = problems(report);
  if (found.length !== 1) throw new Error(`not one problem: ${JSON.stringify(found, null, 2)}`);
  return found[0]!;
}

/** Titles of one check's skipped findings. */
export function skipped({ findings }: Report, check: string): string[] {
  return findings
    .filter((finding) => finding.check === check && finding.status === 'skip')
    .map(({ title }) => title);
}
