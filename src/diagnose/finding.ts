/**
 * What a check of the doctor says: a verdict, what was seen, what to do. Pure values; a finding never
 * holds a secret (the runner hides them again in whatever a check wrote).
 */
import { type ConditionName, conditions } from '../redis/condition-catalogue.ts';

export type Status = 'pass' | 'warn' | 'fail' | 'skip';

/** The checks in the order in which they run. */
export const CHECKS = [
  'environment',
  'dns',
  'tcp',
  'tls',
  'protocol',
  'auth',
  'acl',
  'latency',
  'server',
  'configuration',
  'resources',
  'bullmq',
  'journal',
  'clock',
  'container',
] as const;
export type CheckName = (typeof CHECKS)[number];

export interface Finding {
  check: CheckName;
  status: Status;
  /** What is so, as one sentence without a full stop. */
  title: string;
  /** What was seen: numbers, replies, names. Empty if the title says it all. */
  evidence: string;
  /** What to do, in imperative words. Empty if nothing is to be done. */
  remedy: string;
  /** The word of the catalogue, where it has one for this. */
  condition?: ConditionName;
}

/** A finding before the runner has said whose it is. */
export type Judged = Omit<Finding, 'check'>;

export function pass(title: string, evidence = ''): Judged {
  return { status: 'pass', title, evidence, remedy: '' };
}

export function warn(
  title: string,
  evidence: string,
  remedy: string,
  condition?: ConditionName,
): Judged {
  return judged('warn', title, evidence, remedy, condition);
}

export function fail(
  title: string,
  evidence: string,
  remedy: string,
  condition?: ConditionName,
): Judged {
  return judged('fail', title, evidence, remedy, condition);
}

export function skip(title: string, evidence = '', remedy = ''): Judged {
  return { status: 'skip', title, evidence, remedy };
}

/** What the catalogue says of a condition, with what was seen of it here. */
export function ofCondition(
  condition: ConditionName,
  evidence: string,
  status: 'warn' | 'fail' = 'fail',
): Judged {
  const { meaning, remedy } = conditions[condition];
  return judged(status, capital(meaning), evidence, remedy, condition);
}

/** 0 all is well, 1 there are warnings, 2 something fails. */
export function exitCodeFor(findings: readonly Pick<Finding, 'status'>[]): 0 | 1 | 2 {
  if (findings.some(({ status }) => status === 'fail')) return 2;
  return findings.some(({ status }) => status === 'warn') ? 1 : 0;
}

export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function judged(
  status: Status,
  title: string,
  evidence: string,
  remedy: string,
  condition: ConditionName | undefined,
): Judged {
  return { status, title, evidence, remedy, ...(condition === undefined ? {} : { condition }) };
}
