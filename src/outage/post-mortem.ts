/**
 * An outage as people read it: a ready post-mortem in Markdown with a timeline, of one replica or of the
 * whole fleet. Pure.
 */
import { type Fate, fateOf, type StoredOutage } from './archive.ts';
import { longestCondition } from './record.ts';

/** What the catalogue of conditions says of one. */
export interface ConditionFacts {
  cause: string;
  meaning: string;
  evidence: string;
  remedy: string;
}

interface Moment {
  at: number;
  replica: string;
  what: string;
}

/** Rows of the timeline; a fleet's would be longer than anybody reads. */
const MOMENTS_MAX = 100;

export const FATES: Readonly<Record<Fate, string>> = {
  open: 'Redis is still away.',
  ended: 'Redis came back.',
  stopped: 'The service was stopped while Redis was away; when it came back is not known here.',
  interrupted: 'The process died while Redis was away; when it came back is not known here.',
};

/** When it ended here, else until when it is known to last. All in ms since the epoch. */
export function knownUntil(outage: StoredOutage, now: number): number {
  const lastHeardOf = fateOf(outage, now) === 'open' ? now : outage.updatedAt;
  return outage.endedAt ?? outage.stoppedAt ?? lastHeardOf;
}

/** Second runs that did not happen because locks were held and jobs taken back. */
export function avoided({ counts }: Pick<StoredOutage, 'counts'>): number {
  return counts.pulledBack + counts.handedBack;
}

/** `now`: ms since the epoch. At least one outage; several are of one outage of the fleet. */
export function postMortem(
  outages: readonly StoredOutage[],
  describe: (condition: string) => ConditionFacts,
  now: number,
): string {
  const sorted = [...outages].sort((a, b) => a.startedAt - b.startedAt);
  const first = sorted[0]!;
  const isFleet = sorted.length > 1;
  const from = first.startedAt;
  const until = Math.max(...sorted.map((outage) => knownUntil(outage, now)));
  const names = [...new Set(sorted.flatMap(({ conditions }) => conditions.map((c) => c.name)))];
  const main = mainCondition(sorted, now);
  const { cause, meaning } = describe(main);
  return `${[
    `# Outage of Redis, ${stamp(from)}`,
    `**${sentence(meaning)}** Condition \`${main}\`, cause: ${cause}. ${fateSentence(sorted, now)}`,
    facts(sorted, from, until, isFleet),
    '## Timeline',
    timeline(sorted, isFleet),
    '## What it cost',
    costs(sorted, isFleet),
    '## Evidence',
    evidence(sorted),
    '## What to do',
    names.map((name) => advice(name, describe(name))).join('\n'),
    '## To be filled in',
    '- Root cause:\n- What will keep it from coming again:\n- Who, until when:',
  ].join('\n\n')}\n`;
}

/** The condition that lasted longest in all of them together. */
export function mainCondition(outages: readonly StoredOutage[], now: number): string {
  return longestCondition(
    outages.map((outage) => ({
      conditions: outage.conditions,
      until: knownUntil(outage, now),
    })),
  );
}

function fateSentence(outages: readonly StoredOutage[], now: number): string {
  const fates = outages.map((outage) => fateOf(outage, now));
  const worst = (['open', 'interrupted', 'stopped'] as const).find((fate) => fates.includes(fate));
  if (worst === undefined) return FATES.ended;
  const count = fates.filter((fate) => fate === worst).length;
  return outages.length > 1
    ? `${count} of ${outages.length} replicas: ${FATES[worst]}`
    : FATES[worst];
}

function facts(
  outages: readonly StoredOutage[],
  from: number,
  until: number,
  isFleet: boolean,
): string {
  const [first] = outages;
  const rows: [string, string][] = [
    ['began', stamp(from)],
    ['ended', outages.every(({ endedAt }) => endedAt !== undefined) ? stamp(until) : '–'],
    ['lasted', lasted(until - from)],
    ['outage', isFleet ? '–' : first!.id],
    ['fleet outage', outages.find(({ fleetId }) => fleetId)?.fleetId ?? '–'],
    [
      'replicas',
      outages
        .map(({ replica }) => text(replica))
        .sort()
        .join(', '),
    ],
    ['time to detect', worst(outages.map(({ detectMs }) => detectMs))],
    ['first job after Redis answered', worst(outages.map(({ firstJobMs }) => firstJobMs))],
    ['the server afterwards', list(outages.map(({ identity }) => identity))],
    ['Holdfast', list(outages.map(({ version }) => version))],
  ];
  const shown = rows.filter(([name, value]) => !(isFleet && name === 'outage' && value === '–'));
  return ['| | |', '|---|---|', ...shown.map(([name, value]) => `| ${name} | ${value} |`)].join(
    '\n',
  );
}

function timeline(outages: readonly StoredOutage[], isFleet: boolean): string {
  const moments = outages.flatMap(momentsOf).sort((a, b) => a.at - b.at);
  const shown = moments.slice(0, MOMENTS_MAX);
  const head = isFleet
    ? ['| time | replica | what |', '|---|---|---|']
    : ['| time | what |', '|---|---|'];
  const rows = shown.map(({ at, replica, what }) =>
    isFleet ? `| ${stamp(at)} | ${text(replica)} | ${what} |` : `| ${stamp(at)} | ${what} |`,
  );
  const left = moments.length - shown.length;
  return [...head, ...rows, ...(left > 0 ? [`\n${left} more are left out.`] : [])].join('\n');
}

/** What happened here, in order. */
export function momentsOf(outage: StoredOutage): Moment[] {
  const { replica, conditions, detectMs, endedAt, stoppedAt, firstJobMs, identity } = outage;
  const moments: Moment[] = [];
  const add = (at: number, what: string) => moments.push({ at, replica, what });
  if (detectMs > 0) add(outage.startedAt - detectMs, 'last answer of Redis');
  for (const [i, { name, at }] of conditions.entries()) {
    add(at, i === 0 ? `outage opened: \`${text(name)}\`` : `condition \`${text(name)}\``);
  }
  for (const { text: said, at } of outage.evidence) {
    if (said !== 'others') add(at, `first seen: ${text(said)}`);
  }
  if (stoppedAt !== undefined) add(stoppedAt, 'the service was stopped');
  if (endedAt !== undefined) {
    add(
      endedAt,
      `Redis is back${identity === undefined ? '' : ` (${text(identity)})`}; recovery is done`,
    );
    if (firstJobMs !== undefined) add(endedAt, `first job ${firstJobMs} ms after the first answer`);
  } else if (stoppedAt === undefined) add(outage.updatedAt, 'last written of it');
  // Evidence of a moment stands behind the condition that it led to.
  return moments.sort((a, b) => a.at - b.at);
}

function costs(outages: readonly StoredOutage[], isFleet: boolean): string {
  const sum = (pick: (counts: StoredOutage['counts']) => number) =>
    outages.reduce((total, { counts }) => total + pick(counts), 0);
  const rows: [string, number][] = [
    ['jobs in flight when it began (held)', sum((c) => c.held)],
    ['outcomes put into the journal', sum((c) => c.journaled)],
    ['jobs accepted into the journal', sum((c) => c.accepted)],
    ['outcomes written to Redis on recovery', sum((c) => c.replayed)],
    ['lost outcomes written again', sum((c) => c.healed)],
    ['locks taken back', sum((c) => c.locksRetaken)],
    ['second runs avoided', outages.reduce((total, outage) => total + avoided(outage), 0)],
    ["runs that turned out to be another's", sum((c) => c.runsLost)],
    ['probes', sum((c) => c.probes)],
  ];
  const head = [`| | ${isFleet ? 'all replicas' : 'this replica'} |`, '|---|---:|'];
  return [...head, ...rows.map(([name, count]) => `| ${name} | ${count} |`)].join('\n');
}

function evidence(outages: readonly StoredOutage[]): string {
  const seen = new Map<string, number>();
  for (const { text: said, count } of outages.flatMap((outage) => outage.evidence)) {
    seen.set(said, (seen.get(said) ?? 0) + count);
  }
  if (seen.size === 0) return 'No error was seen.';
  return [...seen]
    .sort(([, a], [, b]) => b - a)
    .map(([said, count]) => `- ${count} × ${text(said)}`)
    .join('\n');
}

function advice(name: string, { cause, meaning, evidence: look, remedy }: ConditionFacts): string {
  return `- \`${text(name)}\` (${cause}): ${meaning}. ${remedy} ${look}`;
}

function worst(values: readonly (number | undefined)[]): string {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? '–' : `${Math.max(...known)} ms`;
}

function list(values: readonly (string | undefined)[]): string {
  const known = [...new Set(values.filter((value) => value !== undefined))];
  return known.length === 0 ? '–' : known.map(text).join(', ');
}

/** `2026-11-23 23:59:12.345 UTC` */
export function stamp(at: number): string {
  return `${new Date(at).toISOString().replace('T', ' ').replace('Z', '')} UTC`;
}

/** `850 ms`, `8.0 s`, `12 min 5 s`, `3 h 2 min` */
export function lasted(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function sentence(meaning: string): string {
  return `${meaning[0]!.toUpperCase()}${meaning.slice(1)}.`;
}

/** Text from elsewhere as one line that cannot break a table or steer a terminal. */
function text(from: string): string {
  return from
    .replace(/\p{Cc}+/gu, ' ')
    .replace(/([\\|`<>])/g, '\\$1')
    .trim();
}
