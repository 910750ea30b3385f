/**
 * What is measured of a service, and from where: follows its parts and fills the metrics. The parts
 * know nothing of it but small callbacks. A scrape is answered at once, whatever Redis does.
 */
import type { Config } from './config.ts';
import type { JournalStats } from './journal/journal.ts';
import type { OutageRecord } from './outage/record.ts';
import { mainConditionOf } from './outage/recorder.ts';
import type { Part } from './part.ts';
import type { Accepted } from './queue/client.ts';
import type { Warning } from './queue/early-warnings.ts';
import type { QueueFigures } from './queue/queue-figures.ts';
import type { ResilientTarget } from './queue/resilient-target.ts';
import type { TargetState } from './queue/target.ts';
import type { CountName } from './queue/target-parts.ts';
import { QueueMetrics } from './queue-metrics.ts';
import { type Condition, conditions } from './redis/condition-catalogue.ts';
import { watchEventLoop } from './telemetry/event-loop.ts';
import type { metricTable } from './telemetry/metric-table.ts';
import { type CountUp, type Distribution, type Exposition, Metrics } from './telemetry/metrics.ts';
import type { Clock, Instant } from './time.ts';
import type { JobMeter } from './worker/meter.ts';
import type { QueueState } from './worker/runtime.ts';

export interface FollowedParts {
  target: Pick<
    ResilientTarget,
    'state' | 'onChange' | 'outages' | 'allowedConcurrency' | 'warnings'
  >;
  journal: { stats(): JournalStats };
  queues(): readonly QueueState[];
  figures: QueueFigures;
}

type CounterName = {
  [Name in keyof typeof metricTable]: (typeof metricTable)[Name]['type'] extends 'counter'
    ? Name
    : never;
}[keyof typeof metricTable];

/** What the target counts, by the metric that tells it; what is missing is told by others. */
const COUNTERS: Partial<Record<CountName, CounterName>> = {
  probes: 'holdfast_probes_total',
  locksRetaken: 'holdfast_locks_retaken_total',
  pulledBack: 'holdfast_runs_avoided_total',
  handedBack: 'holdfast_jobs_handed_back_total',
  runsLost: 'holdfast_runs_lost_total',
  accepted: 'holdfast_journal_jobs_accepted_total',
  journaled: 'holdfast_journal_outcomes_kept_total',
  jobsReplayed: 'holdfast_journal_jobs_replayed_total',
  replayed: 'holdfast_journal_outcomes_replayed_total',
  healed: 'holdfast_outcomes_healed_total',
};

const STATES: readonly TargetState['breaker'][] = ['closed', 'open', 'half-open', 'isolated'];
/** Outages whose first job has yet to begin; a queue may be empty for ever. */
const UNOBSERVED_MAX = 50;
/** A loop that stood still for so long is a warning, which stands for a while, ms. */
const BLOCKED_MS = 1000;
const BLOCKED_TOLD_MS = 60_000;

export class ServiceMetrics implements Part {
  readonly name = 'metrics';
  readonly #metrics = new Metrics();
  readonly #clock: Clock;
  readonly #queues = new QueueMetrics(this.#metrics);
  readonly #stored: Record<Accepted['stored'], CountUp>;
  readonly #commit: Distribution;
  #followed: FollowedParts | undefined;
  #breaker: TargetState['breaker'] = 'open';
  #breakerSince: Instant;
  #secondsIn = new Map<string, number>();
  /** Ended outages after which no job has begun yet, oldest first. */
  #unobserved: OutageRecord[] = [];
  /** When our own event loop last stood still. */
  #blocked: { at: Instant; since: number; lagMs: number } | undefined;
  readonly #stops: (() => void)[] = [];

  constructor(config: Pick<Config, 'version' | 'replica'>, clock: Clock) {
    this.#clock = clock;
    this.#breakerSince = clock.now();
    const metrics = this.#metrics;
    this.#stored = {
      redis: metrics.counter('holdfast_enqueued_total', { stored: 'redis' }),
      journal: metrics.counter('holdfast_enqueued_total', { stored: 'journal' }),
    };
    for (const series of Object.values(this.#stored)) series.inc(0);
    this.#commit = metrics.histogram('holdfast_journal_commit_seconds');
    const { version, replica } = config;
    metrics.gauge('holdfast_build_info', { version, replica, node: process.version }).set(1);
    for (const [condition, { isWarning }] of entriesOf(conditions)) {
      if (!isWarning) metrics.counter('holdfast_outages_total', { condition }).inc(0);
    }
    metrics.onScrape(() => this.#collect());
  }

  /** For the worker runtime: hears of runs. */
  get meter(): JobMeter {
    return this.#queues.meter;
  }

  async start(): Promise<void> {
    const lag = this.#metrics.histogram('holdfast_event_loop_lag_seconds');
    this.#stops.push(
      watchEventLoop(this.#clock, (lagMs) => {
        lag.observe(lagMs / 1000);
        if (lagMs < BLOCKED_MS) return;
        this.#blocked = { at: this.#clock.now(), since: this.#clock.wall(), lagMs };
      }),
    );
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0)) stop();
  }

  /** For a target: something was counted. */
  counted(what: CountName, by: number): void {
    const name = COUNTERS[what];
    if (name !== undefined && by > 0) this.#metrics.counter(name).inc(by);
  }

  /** For a journal: a commit took so long, ms. */
  committed(tookMs: number): void {
    this.#commit.observe(tookMs / 1000);
  }

  /** For a client: a job was accepted. */
  accepted({ stored }: Accepted): void {
    this.#stored[stored].inc();
  }

  /** From now on these parts are told of. */
  follow(parts: FollowedParts): void {
    this.#followed = parts;
    const { target } = parts;
    this.#stops.push(
      target.onChange(({ breaker }) => this.#moved(breaker)),
      target.outages.on((record) => this.#outage(record)),
    );
    this.#moved(target.state().breaker);
    for (const { queue } of parts.queues()) this.#queues.begin(queue);
  }

  /** What may become an outage: of Redis, by the last look at it, and of our own event loop. */
  warnings(): readonly Warning[] {
    const found = this.#followed?.target.warnings() ?? [];
    const blocked = this.#blocked;
    if (blocked === undefined || this.#clock.now() - blocked.at >= BLOCKED_TOLD_MS) return found;
    const evidence = `it stood still for ${Math.round(blocked.lagMs)} ms`;
    const { remedy } = conditions['event-loop-blocked'];
    return [...found, { name: 'event-loop-blocked', since: blocked.since, evidence, remedy }];
  }

  /** What a scraper with this Accept header gets. Waits for nothing but a moment for fresh figures. */
  async expose(accept?: string): Promise<Exposition> {
    await this.#followed?.figures.look();
    return await this.#metrics.scrape(accept);
  }

  // Outages --------------------------------------------------------------------------------------------

  #moved(to: TargetState['breaker']): void {
    const now = this.#clock.now();
    const passed = (now - this.#breakerSince) / 1000;
    this.#secondsIn.set(this.#breaker, (this.#secondsIn.get(this.#breaker) ?? 0) + passed);
    this.#breaker = to;
    this.#breakerSince = now;
  }

  #outage(record: OutageRecord): void {
    // At its end only is it known under which word it goes; while it lasts, holdfast_condition tells.
    if (record.endedAt === undefined) return;
    const condition = mainConditionOf(record, record.endedAt);
    this.#metrics.counter('holdfast_outages_total', { condition }).inc();
    const lastedMs = record.endedAt - record.startedAt;
    this.#metrics.histogram('holdfast_outage_duration_seconds').observe(lastedMs / 1000);
    this.#unobserved = [...this.#unobserved, record].slice(-UNOBSERVED_MAX);
  }

  // A scrape -------------------------------------------------------------------------------------------

  #collect(): void {
    this.#collectProcess();
    const followed = this.#followed;
    if (!followed) return;
    this.#collectTarget(followed);
    this.#collectJournal(followed.journal.stats());
    for (const state of followed.queues()) {
      const allowed = followed.target.allowedConcurrency(state.queue);
      this.#queues.collectState(state, followed.figures.isPaused(state.queue), allowed);
    }
    this.#queues.collectFigures(followed.figures);
  }

  #collectProcess(): void {
    const metrics = this.#metrics;
    const { user, system } = process.cpuUsage();
    const { rss, heapUsed } = process.memoryUsage();
    metrics.total('process_cpu_seconds_total', (user + system) / 1e6);
    metrics.total(
      'holdfast_event_loop_active_seconds_total',
      performance.eventLoopUtilization().active / 1000,
    );
    metrics.gauge('process_resident_memory_bytes').set(rss);
    metrics.gauge('nodejs_heap_size_used_bytes').set(heapUsed);
    metrics.gauge('process_start_time_seconds').set(performance.timeOrigin / 1000);
  }

  #collectTarget({ target }: FollowedParts): void {
    const metrics = this.#metrics;
    const { breaker, condition } = target.state();
    this.#moved(breaker);
    for (const state of STATES) {
      metrics.gauge('holdfast_breaker_state', { state }).set(state === breaker ? 1 : 0);
      metrics.total('holdfast_breaker_state_seconds_total', this.#secondsIn.get(state) ?? 0, {
        state,
      });
    }
    const standing = new Set(this.warnings().map(({ name }) => name));
    metrics.replace('holdfast_condition', condition === undefined ? [] : [series(condition)]);
    metrics.replace('holdfast_warning', [...standing].map(series));

    const firstJob = metrics.histogram('holdfast_outage_first_job_seconds');
    this.#unobserved = this.#unobserved.filter(({ firstJobMs }) => {
      if (firstJobMs !== undefined) firstJob.observe(firstJobMs / 1000);
      return firstJobMs === undefined;
    });
  }

  #collectJournal(stats: JournalStats): void {
    const metrics = this.#metrics;
    for (const kind of ['outcomes', 'jobs', 'refused'] as const) {
      metrics.gauge('holdfast_journal_entries', { kind }).set(stats[kind]);
    }
    metrics.gauge('holdfast_journal_entries_max').set(stats.entriesMax);
    metrics.gauge('holdfast_journal_bytes').set(stats.bytes);
    metrics.gauge('holdfast_journal_bytes_max').set(stats.bytesMax);
    const { oldestAt } = stats;
    const ageMs = oldestAt === undefined ? undefined : Math.max(0, this.#clock.wall() - oldestAt);
    metrics.replace(
      'holdfast_journal_oldest_entry_age_seconds',
      ageMs === undefined ? [] : [{ labels: {}, value: ageMs / 1000 }],
    );
  }
}

function series(condition: string) {
  const { cause } = (conditions as Record<string, Condition>)[condition] ?? { cause: 'server' };
  return { labels: { condition, cause }, value: 1 };
}

function entriesOf(catalogue: Record<string, Condition>): [string, Condition][] {
  return Object.entries(catalogue);
}
