/**
 * What recovery has found out about the server, beside why it was away: names of the condition
 * catalogue, the gravest last. Pure.
 */
import type { IdentityChange } from '../redis/identity.ts';
import { type Finding, findSlowness } from '../redis/warnings.ts';
import type { RecoveryReport } from './recovery.ts';

/** `roundTripMs`: of the probe that passed. */
export function findingsOf(
  change: IdentityChange,
  report: RecoveryReport,
  roundTripMs: number,
): Finding[] {
  const findings: Finding[] = [];
  const isAnother = change === 'restarted' || change === 'failed-over';
  if (change === 'restarted') {
    findings.push({ name: 'server-restarted', evidence: 'its run id is another' });
  } else if (change === 'failed-over') {
    const evidence = 'its replication history goes on under another id';
    findings.push({ name: 'failed-over', evidence });
  } else {
    // Silence that was none: its answers come later than was waited for.
    const slowness = findSlowness(roundTripMs, false);
    if (slowness) findings.push(slowness);
  }
  // A process younger than the moments that were lost has lost its keys, but not its jobs.
  const found = report.locksRetaken + report.pulledBack + report.healed;
  if (report.epochsGone > 0 && found === 0) {
    findings.push({ name: 'data-lost', evidence: 'our keys are gone from the dataset' });
  } else if (isAnother && report.healed > 0) {
    findings.push({ name: 'data-rolled-back', evidence: `${report.healed} outcomes were gone` });
  }
  return findings;
}
