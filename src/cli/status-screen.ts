/** What `holdfast status` draws for people: services, replicas, queues, and what is not known. */
import type { Replica } from '../queue/fleet-view.ts';
import { span } from './moments.ts';
import { JOB_STATES } from './on-queue.ts';
import type { QueueCounts } from './route.ts';
import type { Readiness } from './services.ts';
import { table } from './table.ts';
import { plainLine, styled, wrapped } from './terminal.ts';

export interface Status {
  services: (Readiness & { url: string })[];
  /** Services that run here and cannot be asked, as sentences. */
  mute: readonly string[];
  /** Where the counts come from. */
  source: string;
  replicas: readonly Replica[];
  isFleetComplete: boolean;
  queues: readonly QueueCounts[];
  /** What cannot be told now and why, as sentences. */
  unknown: readonly string[];
}

const COLOURS = {
  ok: 'green',
  running: 'green',
  degraded: 'yellow',
  'shutting-down': 'yellow',
} as const;

export function drawStatus(status: Status): string {
  const { services, mute, source, replicas, queues, unknown } = status;
  const parts: string[] = [];
  if (services.length === 0) parts.push(`No service runs here; asked ${source}.`);
  for (const service of services) parts.push(drawService(service));
  parts.push(...mute.map((line) => styled('yellow', plainLine(line), process.stdout)));
  if (replicas.length > 0) parts.push(drawReplicas(replicas, status.isFleetComplete));
  parts.push(drawQueues(queues));
  if (unknown.length > 0) parts.push(unknown.map((line) => warn(plainLine(line))).join('\n'));
  return parts.join('\n\n');
}

function coloured(state: string): string {
  return styled(COLOURS[state as keyof typeof COLOURS] ?? 'red', state, process.stdout);
}

function warn(line: string): string {
  return `${styled('yellow', '!', process.stdout)} ${wrapped(line, 2, process.stdout)}`;
}

function drawService(service: Status['services'][number]): string {
  const { url, status, version, replica, breaker, condition, reason, since } = service;
  const head = [
    coloured(status),
    url,
    ...(replica === undefined ? [] : [`replica ${plainLine(replica)}`]),
    ...(version === undefined ? [] : [`version ${plainLine(version)}`]),
  ].join('  ');
  const lines = [head];
  if (breaker !== undefined) {
    const why = condition === undefined ? '' : ` (${condition})`;
    const forMs = since === undefined ? Number.NaN : Date.now() - Date.parse(since);
    const time = Number.isNaN(forMs) ? '' : ` since ${since} (${span(forMs)})`;
    lines.push(`  breaker ${breaker}${why}${time}`);
  }
  if (reason !== undefined) lines.push(`  ${plainLine(reason)}`);
  for (const { name, evidence, remedy } of (breaker === 'closed' && service.warnings) || []) {
    lines.push(warn(plainLine(`${name}: ${evidence}. ${remedy}`)));
  }
  return lines.join('\n');
}

/** Older by this than the newest, and the list incomplete: the entry is a memory, ms. */
const SEEN_MS = 2000;

function drawReplicas(replicas: readonly Replica[], isComplete: boolean): string {
  // The service that was asked describes itself as it is now.
  const newest = Math.max(...replicas.map(({ seenAt }) => Date.parse(seenAt)));
  const rows = replicas.map((one) => {
    const seenMs = newest - Date.parse(one.seenAt);
    return drawReplica(one, isComplete || seenMs < SEEN_MS ? undefined : seenMs);
  });
  const head = ['replica', 'state', 'breaker', 'version', 'host', 'pid', 'up', 'running/slots', ''];
  return table([head, ...rows]);
}

/** `seenMs`: how long ago it was seen last, where it cannot be seen now. */
function drawReplica(one: Replica, seenMs: number | undefined): string[] {
  return [
    plainLine(one.replica),
    seenMs === undefined ? coloured(one.state) : styled('dim', 'not known', process.stdout),
    seenMs === undefined ? breakerOf(one) : '–',
    plainLine(one.version),
    plainLine(one.host),
    `${one.pid}`,
    span(Date.now() - Date.parse(one.startedAt)),
    one.queues
      .map(({ queue, running, concurrency }) => `${queue} ${running}/${concurrency}`)
      .join(', ') || '–',
    seenMs === undefined
      ? plainLine(one.breaker === 'closed' ? (one.reason ?? '') : '')
      : `seen last ${span(seenMs)} ago: ${one.state}`,
  ];
}

function breakerOf({ breaker, condition }: Replica): string {
  return condition === undefined ? breaker : `${breaker} (${condition})`;
}

/** Few use them, and a terminal is 80 characters wide: shown when a queue has some. */
const RARE: ReadonlySet<string> = new Set(['prioritized', 'waiting-children']);

function drawQueues(queues: readonly QueueCounts[]): string {
  if (queues.length === 0) return 'No queues.';
  const states = JOB_STATES.filter(
    (state) => !RARE.has(state) || queues.some(({ counts }) => (counts?.[state] ?? 0) > 0),
  );
  const head = ['queue', ...states, ''];
  const rows = queues.map(({ queue, counts, isConsuming, isPaused, reason }) => [
    queue,
    ...states.map((state) => (counts === null ? '–' : `${counts[state] ?? 0}`)),
    [
      ...(isPaused ? [styled('yellow', 'paused', process.stdout)] : []),
      // While Redis is away nothing is consumed, and the screen says so above.
      ...(isConsuming === false && counts !== null
        ? [`not consumed here${reason === undefined ? '' : `: ${plainLine(reason)}`}`]
        : []),
    ].join(', '),
  ]);
  return table([head, ...rows]);
}
