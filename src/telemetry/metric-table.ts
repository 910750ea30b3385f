/**
 * Every metric, once: its name, type, labels, unit and meaning. The instruments, docs/metrics.md and
 * the tests of dashboard and alert rules follow from this table. Names and labels are an interface: a
 * metric may be added, but is not renamed.
 *
 * What it must never have: a label whose values callers choose. Queues are those that a handler names,
 * conditions those of the catalogue.
 */

export interface MetricRow {
  type: 'counter' | 'gauge' | 'histogram';
  help: string;
  labels: readonly string[];
  /** Upper bounds, of histograms only. */
  buckets?: readonly number[];
}

/** Jobs take from a millisecond to an hour, and may wait as long, s. */
const JOB_SECONDS = [0.005, 0.01, 0.025, 0.1, 0.25, 1, 2.5, 10, 30, 60, 300, 1800, 3600];
/** A commit is a millisecond on an SSD and seconds on a disk that hangs, s. */
const COMMIT_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];
/** Outages last from a blink to a night, s. */
const OUTAGE_SECONDS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400];
/** What is promised is 0.5 s, s. */
const RETURN_SECONDS = [0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60];
/** Lateness of a timer, s. */
const LAG_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

const counter = (help: string, ...labels: string[]) => ({ type: 'counter', help, labels }) as const;
const gauge = (help: string, ...labels: string[]) => ({ type: 'gauge', help, labels }) as const;
const histogram = (help: string, buckets: readonly number[], ...labels: string[]) =>
  ({ type: 'histogram', help, labels, buckets }) as const;

export const metricTable = {
  // This process
  holdfast_build_info: gauge('Always 1; what runs here.', 'version', 'node', 'replica'),
  holdfast_event_loop_lag_seconds: histogram(
    'How late a timer of this process was, looked at twice a second.',
    LAG_SECONDS,
  ),
  holdfast_event_loop_active_seconds_total: counter(
    'Time in which the event loop was busy; its rate is the share of one core.',
  ),
  process_cpu_seconds_total: counter('CPU time of this process, user and system.'),
  process_resident_memory_bytes: gauge('Resident memory of this process.'),
  nodejs_heap_size_used_bytes: gauge('JavaScript heap in use.'),
  process_start_time_seconds: gauge('When this process started, s since the epoch.'),

  // Redis and its outages
  holdfast_breaker_state: gauge(
    '1 for the state that the breaker is in, 0 for the others: closed, open, half-open, isolated.',
    'state',
  ),
  holdfast_breaker_state_seconds_total: counter('Time spent in a state of the breaker.', 'state'),
  holdfast_condition: gauge(
    '1 for what is wrong with Redis now (docs/conditions.md); no series while nothing is.',
    'condition',
    'cause',
  ),
  holdfast_warning: gauge(
    '1 for each warning about Redis or this process that stands now; no series without one.',
    'condition',
    'cause',
  ),
  holdfast_outages_total: counter(
    'Outages that have ended, by the condition that lasted longest.',
    'condition',
  ),
  holdfast_outage_duration_seconds: histogram(
    'From the opening of the breaker to the end of recovery.',
    OUTAGE_SECONDS,
  ),
  holdfast_outage_first_job_seconds: histogram(
    'From the first answer of Redis after an outage to the first job that began here.',
    RETURN_SECONDS,
  ),
  holdfast_probes_total: counter('Attempts to reach Redis while the breaker was not closed.'),
  holdfast_locks_retaken_total: counter('Locks taken back after outages.'),
  holdfast_runs_avoided_total: counter(
    'Jobs saved from a second run: another worker could have taken them while theirs still ran here.',
  ),
  holdfast_jobs_handed_back_total: counter(
    'Jobs taken by a request that got no reply, handed back after an outage.',
  ),
  holdfast_runs_lost_total: counter('Runs here whose job turned out to be with another worker.'),

  // The journal
  holdfast_journal_entries: gauge(
    'Entries on disk: outcomes and jobs that wait for Redis, and refused ones that wait for a person.',
    'kind',
  ),
  holdfast_journal_entries_max: gauge('Entries that the journal takes at most.'),
  holdfast_journal_bytes: gauge('Bytes of all entries.'),
  holdfast_journal_bytes_max: gauge('Bytes that the journal takes at most.'),
  holdfast_journal_oldest_entry_age_seconds: gauge(
    'Age of the oldest entry; no series while the journal is empty.',
  ),
  holdfast_journal_commit_seconds: histogram(
    'Time of one commit to the journal, fsync included.',
    COMMIT_SECONDS,
  ),
  holdfast_journal_jobs_accepted_total: counter('Jobs that were accepted into the journal.'),
  holdfast_journal_outcomes_kept_total: counter('Outcomes of jobs that were put into the journal.'),
  holdfast_journal_jobs_replayed_total: counter(
    'Accepted jobs written from the journal to Redis, counted when all are there.',
  ),
  holdfast_journal_outcomes_replayed_total: counter(
    'Outcomes written from the journal to Redis after outages.',
  ),
  holdfast_outcomes_healed_total: counter(
    'Outcomes that Redis had acknowledged and lost, written again.',
  ),

  // Jobs
  holdfast_enqueued_total: counter(
    'Jobs accepted by this process, by where they were kept.',
    'stored',
  ),
  holdfast_jobs_total: counter(
    'Runs that ended here: completed, failed, retried, delayed, put-off, returned, moved, dropped.',
    'queue',
    'outcome',
  ),
  holdfast_job_duration_seconds: histogram('Time that a run took.', JOB_SECONDS, 'queue'),
  holdfast_job_wait_seconds: histogram(
    'From when a job was due until its first attempt began.',
    JOB_SECONDS,
    'queue',
  ),
  holdfast_workers_rebuilt_total: counter(
    'Workers rebuilt because nothing was taken although jobs waited.',
    'queue',
  ),
  holdfast_queue_consuming: gauge(
    '1 while this replica takes jobs of the queue; 0 also while that is paused.',
    'queue',
  ),
  holdfast_queue_concurrency: gauge(
    'Jobs of the queue that may run here by configuration.',
    'queue',
  ),
  holdfast_queue_concurrency_allowed: gauge(
    'Jobs of the queue that may run here now: less after an outage (slow start), 0 in one.',
    'queue',
  ),
  holdfast_queue_running_jobs: gauge('Jobs of the queue that run here now.', 'queue'),
  holdfast_queue_overdue_handlers: gauge(
    'Handlers that go on here although their timeout is over.',
    'queue',
  ),

  // Queues as Redis has them: every replica tells the same
  holdfast_queue_jobs: gauge('Jobs of the queue in Redis, by BullMQ’s state.', 'queue', 'state'),
  holdfast_queue_backlog_jobs: gauge(
    'Jobs of the queue in Redis that could begin now: waiting and prioritized; 0 while it is paused.',
    'queue',
  ),
  holdfast_queue_paused: gauge(
    '1 while the queue is paused (`holdfast pause`); no series while Redis is away.',
    'queue',
  ),
  holdfast_queue_oldest_job_age_seconds: gauge(
    'For how long the job that is next has been due; 0 without one and while the queue is paused, no series while Redis is away.',
    'queue',
  ),
  holdfast_queue_figures_failed_total: counter(
    'Times that these figures could not be read from Redis.',
  ),
} as const satisfies Record<string, MetricRow>;

export type MetricName = keyof typeof metricTable;
