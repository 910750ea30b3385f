/**
 * Every event that the log may name: what it says and which fields come with it. The names and fields
 * are the interface; texts may change. docs/logs.md is made from this table, and a test holds the code
 * and real lines against it.
 */

export interface EventEntry {
  /** When it is written. */
  says: string;
  /** Fields beside those that every line has. */
  fields: readonly string[];
}

const JOB = [
  'queue',
  'jobName',
  'jobId',
  'attempt',
  'attemptsMax',
  'outcome',
  'waitMs',
  'durationMs',
  'traceId',
] as const;
const FAILED = [...JOB, 'errorCode', 'error', 'delayMs', 'stack'] as const;
const COUNTS = [
  'held',
  'journaled',
  'accepted',
  'replayed',
  'healed',
  'locksRetaken',
  'pulledBack',
  'handedBack',
  'runsLost',
  'probes',
] as const;

/** Fields of every line. `err` carries type, message, code and stack of an error. */
export const COMMON_FIELDS = [
  'level',
  'time',
  'service',
  'version',
  'replica',
  'event',
  'msg',
  'err',
] as const;

export const events: Readonly<Record<string, EventEntry>> = {
  'service.started': { says: 'everything is up', fields: ['queues', 'http', 'startMs'] },
  'service.stopping': { says: 'a graceful stop began', fields: ['running'] },
  'service.stopped': { says: 'everything has ended', fields: [] },
  'service.forced': { says: 'a second signal ended the process', fields: ['signal'] },
  'service.unhandled': { says: 'an error that nobody handled; the process stops', fields: [] },
  'journal.replayed': { says: 'all accepted jobs of the journal are in Redis', fields: ['jobs'] },
  'enqueue.redone': {
    says: 'Redis had lost jobs that it had acknowledged; they were added again',
    fields: ['queue', 'jobs'],
  },
  'enqueue.delayed': {
    says: 'accepted jobs could not be written to Redis and wait in the journal',
    fields: ['queue'],
  },
  'enqueue.window_full': {
    says: 'more jobs are added within the rollback window than memory keeps',
    fields: ['queue'],
  },
  'part.overdue': { says: 'a part did not stop in time', fields: ['part'] },
  'part.failed': { says: 'a part failed to stop', fields: ['part'] },
  'credentials.reloaded': { says: 'secrets were read again and Redis takes them', fields: [] },
  'credentials.refused': {
    says: 'what was read again is not valid, or Redis does not take it; nothing was stopped',
    fields: ['condition'],
  },
  'config.warning': { says: 'a variable looks like a setting and is none', fields: [] },
  'embedded.ready': {
    says: 'the Redis that was brought along answers',
    fields: ['url', 'kind', 'pid'],
  },
  'embedded.not_durable': { says: 'it keeps jobs in memory only', fields: ['kind'] },
  'embedded.died': { says: 'it ended by itself', fields: ['pid'] },
  'embedded.restarted': { says: 'it was started again', fields: ['pid'] },
  'embedded.restart_failed': {
    says: 'it could not be started again; tried further',
    fields: ['tries'],
  },
  'embedded.left': { says: 'another service uses it: it goes on', fields: [] },
  'outage.opened': {
    says: 'Redis is away',
    fields: ['outageId', 'condition', 'cause', 'held', 'detectMs'],
  },
  'outage.summary': {
    says: 'it is still away: after 30 s, then every minute',
    fields: ['outageId', 'condition', 'durationMs', ...COUNTS, 'evidence', 'linesLeftOut'],
  },
  'outage.closed': {
    says: 'Redis is back and recovery is done',
    fields: [
      'outageId',
      'fleetOutageId',
      'condition',
      'conditions',
      'identity',
      'durationMs',
      'detectMs',
      'firstJobMs',
      ...COUNTS,
      'evidence',
      'linesLeftOut',
    ],
  },
  'outage.not_kept': {
    says: 'records of outages cannot be written to disk; the log has them',
    fields: ['path'],
  },
  'warning.began': {
    says: 'what may become an outage; told at most once in ten minutes',
    fields: ['condition', 'cause', 'evidence'],
  },
  'warning.ended': { says: 'such a warning is over', fields: ['condition', 'durationMs'] },
  'event_loop.blocked': {
    says: 'our own event loop stood still; no outage',
    fields: ['condition', 'blockedMs', 'jobs'],
  },
  'lock.lost': {
    says: 'another worker has the job: the run here is told to stop',
    fields: ['queue', 'jobName', 'jobId', 'verdict'],
  },
  'outcome.dropped': {
    says: 'the outcome of such a run was not recorded',
    fields: ['queue', 'jobName', 'jobId', 'verdict'],
  },
  'outcome.refused': {
    says: 'Redis refuses an outcome for good; it stays in the journal',
    fields: ['queue', 'jobId', 'reason'],
  },
  'outcome.delayed': {
    says: 'outcomes could not be written now; the next recovery tries again',
    fields: [],
  },
  'journal.warning': { says: 'what to know about the place of the journal', fields: [] },
  'journal.append_failed': {
    says: 'an outcome could not be put on disk and is kept in memory',
    fields: ['queue', 'jobId'],
  },
  'journal.left': { says: 'outcomes that the next start will write', fields: ['entries', 'path'] },
  'job.completed': { says: 'a result is recorded', fields: JOB },
  'job.failed': { says: 'a job failed for good', fields: FAILED },
  'job.retried': { says: 'an attempt failed, another follows', fields: FAILED },
  'job.delayed': { says: 'the handler asked to be run again later', fields: FAILED },
  'job.put_off': {
    says: 'this version cannot run the job; tried again within the grace',
    fields: FAILED,
  },
  'job.moved': { says: 'the handler moved its job itself, in BullMQ’s way', fields: FAILED },
  'job.returned': { says: 'a stop handed the job back, its attempts unchanged', fields: FAILED },
  'job.dropped': { says: 'the job was another worker’s when its run ended', fields: FAILED },
  'job.overdue': {
    says: 'a handler goes on after its timeout',
    fields: ['queue', 'jobName', 'jobId', 'overdue', 'isReplaced'],
  },
  'downstream.opened': {
    says: 'attempts of a queue failed in a row: it is not fetched for a while (`breaker`)',
    fields: ['queue', 'failures', 'openForMs'],
  },
  'downstream.closed': {
    says: 'a job of such a queue succeeded: it is fetched again',
    fields: ['queue'],
  },
  'job.not_returned': { says: 'a job could not be handed back', fields: ['queue', 'jobId'] },
  'job.backoff_unknown': { says: 'a job asks for a backoff that is not known', fields: ['queue'] },
  'job.note_lost': {
    says: 'a progress or log line of a handler could not be kept',
    fields: ['note', 'reason'],
  },
  'worker.rebuilt': {
    says: 'a silent worker was replaced in place',
    fields: ['queue', 'dueJobs', 'freeSlots', 'silentMs', 'rebuilt'],
  },
  'worker.error': { says: 'BullMQ reports an error', fields: ['queue', 'error', 'unlogged'] },
  'worker.setup_failed': { says: 'setup() failed; tried again', fields: ['queue', 'attempt'] },
  'worker.setup_slow': { says: 'setup() takes long', fields: ['queue', 'waitedMs'] },
  'worker.teardown_failed': { says: 'teardown() failed', fields: ['queue'] },
  'worker.teardown_slow': { says: 'teardown() did not end in time', fields: ['queue'] },
  'workers.quiet': { says: 'no more jobs are taken', fields: ['running'] },
  'workers.left': { says: 'runs that had not ended by the deadline', fields: ['running'] },
  'fleet.unregistered': {
    says: 'the replica cannot enter itself in the list of replicas; it works all the same',
    fields: [],
  },
  'hook.failed': { says: 'a hook threw or hangs', fields: ['hook'] },
  'schedules.applied': { says: 'schedules were written', fields: ['queue', 'written', 'removed'] },
  'schedules.outdated': { says: 'a newer file is in force; ours does nothing', fields: ['queue'] },
  'schedules.queue_unknown': {
    says: 'a schedule names a queue without a handler here',
    fields: ['queue'],
  },
  'schedules.failed': { says: 'schedules could not be written; tried again', fields: ['error'] },
  'schedules.error': { says: 'BullMQ reports an error', fields: ['queue', 'error'] },
  'client.error': { says: 'BullMQ reports an error of a producer', fields: ['queue', 'error'] },
  'http.listening': { says: 'HTTP is up', fields: ['address'] },
  'http.failed': { says: 'a request failed for no reason of its own', fields: ['method', 'path'] },
  'webhook.retried': {
    says: 'a delivery is tried again',
    fields: ['queue', 'jobId', 'jobName', 'attempt', 'delayMs'],
  },
};
