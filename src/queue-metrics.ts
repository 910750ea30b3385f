/** What is measured of queues: the runs of their jobs here, and, at a scrape, the figures that Redis has of them. */
import type { QueueFigures } from './queue/queue-figures.ts';
import type { CountUp, Distribution, Level, Metrics } from './telemetry/metrics.ts';
import type { JobMeter } from './worker/meter.ts';
import type { QueueState } from './worker/runtime.ts';

/** Series of a queue that exist from the start, so that rates see their first count. */
const OUTCOMES = ['completed', 'failed', 'retried'] as const;

interface QueueSeries {
  outcomes: Map<string, CountUp>;
  duration: Distribution;
  wait: Distribution;
  rebuilt: CountUp;
  levels: Record<'consuming' | 'concurrency' | 'allowed' | 'running' | 'overdue', Level>;
}

export class QueueMetrics {
  readonly meter: JobMeter;
  readonly #metrics: Metrics;
  readonly #queues = new Map<string, QueueSeries>();

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
    this.meter = {
      ended: (queue, outcome, durationMs, waitMs) => {
        const series = this.#seriesOf(queue);
        this.#outcomeOf(series, queue, outcome).inc();
        if (durationMs !== undefined) series.duration.observe(durationMs / 1000);
        if (waitMs !== undefined) series.wait.observe(waitMs / 1000);
      },
      rebuilt: (queue) => this.#seriesOf(queue).rebuilt.inc(),
    };
  }

  /** The series of the queue are there from now on. */
  begin(queue: string): void {
    this.#seriesOf(queue);
  }

  /** @param allowed jobs that may run here at the same time now */
  collectState(state: QueueState, isPaused: boolean, allowed: number): void {
    const { levels } = this.#seriesOf(state.queue);
    levels.consuming.set(state.isConsuming && !isPaused ? 1 : 0);
    levels.concurrency.set(state.concurrency);
    levels.allowed.set(allowed);
    levels.running.set(state.running);
    levels.overdue.set(state.overdue);
  }

  /** What the last look at the queues saw. */
  collectFigures({ current, failures }: QueueFigures): void {
    const metrics = this.#metrics;
    metrics.total('holdfast_queue_figures_failed_total', failures);
    metrics.replace(
      'holdfast_queue_jobs',
      current.flatMap(({ queue, counts }) =>
        Object.entries(counts).map(([state, value]) => ({ labels: { queue, state }, value })),
      ),
    );
    metrics.replace(
      'holdfast_queue_backlog_jobs',
      // Nobody is to begin what is paused: not late, and no reason for more replicas.
      current.map(({ queue, isPaused, counts: { waiting = 0, prioritized = 0 } }) => ({
        labels: { queue },
        value: isPaused ? 0 : waiting + prioritized,
      })),
    );
    metrics.replace(
      'holdfast_queue_paused',
      current.map(({ queue, isPaused }) => ({ labels: { queue }, value: isPaused ? 1 : 0 })),
    );
    metrics.replace(
      'holdfast_queue_oldest_job_age_seconds',
      current.map(({ queue, isPaused, oldestAgeMs }) => ({
        labels: { queue },
        value: isPaused ? 0 : oldestAgeMs / 1000,
      })),
    );
  }

  #seriesOf(queue: string): QueueSeries {
    const known = this.#queues.get(queue);
    if (known) return known;
    const metrics = this.#metrics;
    const series: QueueSeries = {
      outcomes: new Map(),
      duration: metrics.histogram('holdfast_job_duration_seconds', { queue }),
      wait: metrics.histogram('holdfast_job_wait_seconds', { queue }),
      rebuilt: metrics.counter('holdfast_workers_rebuilt_total', { queue }),
      levels: {
        consuming: metrics.gauge('holdfast_queue_consuming', { queue }),
        concurrency: metrics.gauge('holdfast_queue_concurrency', { queue }),
        allowed: metrics.gauge('holdfast_queue_concurrency_allowed', { queue }),
        running: metrics.gauge('holdfast_queue_running_jobs', { queue }),
        overdue: metrics.gauge('holdfast_queue_overdue_handlers', { queue }),
      },
    };
    series.rebuilt.inc(0);
    this.#queues.set(queue, series);
    for (const outcome of OUTCOMES) this.#outcomeOf(series, queue, outcome).inc(0);
    return series;
  }

  #outcomeOf({ outcomes }: QueueSeries, queue: string, outcome: string): CountUp {
    let count = outcomes.get(outcome);
    if (!count) {
      count = this.#metrics.counter('holdfast_jobs_total', { queue, outcome });
      outcomes.set(outcome, count);
    }
    return count;
  }
}
