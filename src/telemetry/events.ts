/**
 * Every event that the log may name: what it says and which fields come with it. The names and fields
 * are the interface; texts may change. docs/logs.md is made from this table, and a test holds the code
 * and real lines against it.
 */

export interface EventEntry {
  /** At which it is written, always: what to alert on, and what LOG_LEVEL leaves out. */
  level: 'debug' | 'info' | 'warn' | 'error' | 'fatal';
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
/** What is wrong, and what to do: from the catalogue of conditions. */
const CAUSE = ['condition', 'cause', 'remedy', 'docs'] as const;
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
  'service.started': {
    level: 'info',
    says: 'everything is up',
    fields: ['queues', 'http', 'startMs'],
  },
  'service.not_noted': {
    level: 'warn',
    says: 'the disk is full: the commands of this machine do not find the service by themselves, and need `--url`',
    fields: ['path'],
  },
  'service.stopping': { level: 'info', says: 'a graceful stop began', fields: ['running'] },
  'service.stopped': { level: 'info', says: 'everything has ended', fields: [] },
  'service.forced': {
    level: 'warn',
    says: 'a second signal ended the process',
    fields: ['signal'],
  },
  'service.unhandled': {
    level: 'fatal',
    says: 'an error that nobody handled; the process stops',
    fields: [],
  },
  'breaker.isolated': {
    level: 'warn',
    says: 'an operator keeps this replica from Redis (`holdfast isolate`)',
    fields: ['reason'],
  },
  'breaker.released': { level: 'info', says: 'an operator lets it back', fields: [] },
  'journal.replayed': {
    level: 'info',
    says: 'all accepted jobs of the journal are in Redis; at most once a minute while Redis is slow',
    fields: ['jobs'],
  },
  'journal.adopted': {
    level: 'info',
    says: 'entries that a dead replica left in its journal were taken over',
    fields: ['from', 'entries'],
  },
  'journal.adoption_failed': {
    level: 'error',
    says: 'what dead replicas left in their journals cannot be taken over now; tried again',
    fields: [],
  },
  'queue.set_aside': {
    level: 'error',
    says: 'a key of the queue is broken (`key`, if it is known): its jobs wait, the other queues go on',
    fields: ['queue', 'key', 'reason'],
  },
  'queue.taken_back': {
    level: 'info',
    says: 'the data of such a queue is whole again: it goes on',
    fields: ['queue'],
  },
  'enqueue.redone': {
    level: 'warn',
    says: 'Redis had lost jobs that it had acknowledged; they were added again',
    fields: ['queue', 'jobs'],
  },
  'enqueue.refused_again': {
    level: 'error',
    says: 'Redis lost jobs that it had acknowledged, and refuses to add them again; the first 100 are named',
    fields: ['queue', 'jobs', 'jobIds', 'reason'],
  },
  'enqueue.delayed': {
    level: 'error',
    says: 'accepted jobs could not be written to Redis and wait in the journal',
    fields: ['queue'],
  },
  'enqueue.window_full': {
    level: 'warn',
    says: 'more jobs are added within the rollback window than memory keeps',
    fields: ['queue'],
  },
  'island.refused': {
    level: 'warn',
    says: 'the queue does not run from the journal while Redis is away',
    fields: ['queue', 'reason'],
  },
  'island.later_full': {
    level: 'warn',
    says: 'more delayed jobs wait in the journal than can run from there; the others wait for Redis',
    fields: ['queue'],
  },
  'island.halted': {
    level: 'error',
    says: 'the journal failed while jobs ran from it; none begins until it works again, or Redis is back; said once',
    fields: ['queue'],
  },
  'part.overdue': { level: 'error', says: 'a part did not stop in time', fields: ['part'] },
  'part.failed': { level: 'error', says: 'a part failed to stop', fields: ['part'] },
  'credentials.reloaded': {
    level: 'info',
    says: 'secrets were read again and Redis takes them',
    fields: [],
  },
  'credentials.restart_needed': {
    level: 'warn',
    says: 'what was read again names another server, or a secret that stands in no file: only a restart takes it',
    fields: ['settings'],
  },
  'credentials.refused': {
    level: 'error',
    says: 'what was read again is not valid, or Redis does not take it; nothing was stopped',
    fields: ['condition'],
  },
  'config.warning': {
    level: 'warn',
    says: 'a variable looks like a setting and is none',
    fields: [],
  },
  'embedded.ready': {
    level: 'info',
    says: 'the Redis that was brought along answers',
    fields: ['url', 'kind', 'pid'],
  },
  'embedded.passed_over': {
    level: 'warn',
    says: 'servers on the PATH that are too old for the embedded Redis were left alone',
    fields: ['servers'],
  },
  'embedded.not_durable': { level: 'warn', says: 'it keeps jobs in memory only', fields: ['kind'] },
  'embedded.died': { level: 'warn', says: 'it ended by itself', fields: ['pid'] },
  'embedded.restarted': { level: 'info', says: 'it was started again', fields: ['pid'] },
  'embedded.restart_failed': {
    level: 'warn',
    says: 'it could not be started again; tried further',
    fields: ['tries'],
  },
  'embedded.left': { level: 'warn', says: 'another service uses it: it goes on', fields: [] },
  'outage.opened': {
    level: 'error',
    says: 'Redis is away; where only the end of a connection told it, said when the first probe knows why, 300 ms later at the latest',
    fields: ['outageId', ...CAUSE, 'evidence', 'held', 'detectMs', 'linesLeftOut'],
  },
  'outage.cause': {
    level: 'error',
    says: 'it is away for another reason than the one told before: after a second in which that stood, at most once in 15 s',
    fields: ['outageId', ...CAUSE, 'evidence', 'durationMs', 'linesLeftOut'],
  },
  'outage.summary': {
    level: 'warn',
    says: 'it is still away: after 30 s, then every minute',
    fields: ['outageId', ...CAUSE, 'durationMs', ...COUNTS, 'evidence', 'linesLeftOut'],
  },
  'outage.closed': {
    level: 'info',
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
    level: 'warn',
    says: 'records of outages cannot be written to disk; the log has them',
    fields: ['path'],
  },
  'warning.began': {
    level: 'warn',
    says: 'what may become an outage; told at most once in ten minutes',
    fields: ['condition', 'cause', 'evidence'],
  },
  'warning.ended': {
    level: 'info',
    says: 'such a warning is over',
    fields: ['condition', 'durationMs'],
  },
  'event_loop.blocked': {
    level: 'warn',
    says: 'our own event loop stood still; no outage',
    fields: ['condition', 'blockedMs', 'jobs'],
  },
  'lock.lost': {
    level: 'warn',
    says: 'another worker has the job: the run here is told to stop',
    fields: ['queue', 'jobName', 'jobId', 'verdict'],
  },
  'outcome.dropped': {
    level: 'warn',
    says: 'the outcome of such a run was not recorded',
    fields: ['queue', 'jobName', 'jobId', 'verdict'],
  },
  'outcome.refused': {
    level: 'error',
    says: 'Redis refuses an outcome for good; it stays in the journal',
    fields: ['queue', 'jobId', 'reason'],
  },
  'outcome.delayed': {
    level: 'error',
    says: 'outcomes could not be written now; the next recovery tries again',
    fields: [],
  },
  'journal.warning': {
    level: 'warn',
    says: 'what to know about the place of the journal',
    fields: [],
  },
  'journal.waiting': {
    level: 'warn',
    says: 'another replica takes over what this one had left; the start waits, up to 2 minutes',
    fields: ['path'],
  },
  'journal.append_failed': {
    level: 'error',
    says: 'an outcome could not be put on disk and is kept in memory',
    fields: ['queue', 'jobId'],
  },
  'journal.forget_failed': {
    level: 'error',
    says: 'outcomes that Redis has, or refuses, could not be taken out of the journal; tried again',
    fields: ['entries'],
  },
  'journal.refuses': {
    level: 'error',
    says: 'its disk is full or fails: jobs that Redis cannot take now are refused; tried again',
    fields: ['path'],
  },
  'journal.accepts': { level: 'warn', says: 'it takes entries again', fields: ['path'] },
  'journal.reinstated': {
    level: 'error',
    says: 'its files had been removed or replaced while it was open, and were written anew',
    fields: ['path', 'entries', 'aside'],
  },
  'journal.damaged': {
    level: 'error',
    says: 'its files were not what was written: what is sound goes on, the rest is put aside with a report',
    fields: ['quarantine', 'reasons', 'rescued', 'damaged'],
  },
  'journal.kept_apart': {
    level: 'warn',
    says: 'Redis refuses an entry for good: it waits for a person (`holdfast journal list --refused`)',
    fields: ['position', 'reason', 'path'],
  },
  'journal.orphan_left': {
    level: 'error',
    says: 'what a dead replica left cannot be taken over and stays as it is; tried again, said once',
    fields: ['from'],
  },
  'journal.take_back_failed': {
    level: 'error',
    says: 'entries that were refused got written all the same and cannot be removed now; tried again',
    fields: ['entries', 'path'],
  },
  'journal.close_failed': {
    level: 'error',
    says: 'it was not closed in order; what it had acknowledged is on disk',
    fields: ['path'],
  },
  'journal.left': {
    level: 'warn',
    says: 'jobs and outcomes that the next start will write',
    fields: ['entries', 'path'],
  },
  'job.completed': { level: 'info', says: 'a result is recorded', fields: JOB },
  'job.failed': { level: 'error', says: 'a job failed for good', fields: FAILED },
  'job.retried': { level: 'warn', says: 'an attempt failed, another follows', fields: FAILED },
  'job.delayed': { level: 'info', says: 'the handler asked to be run again later', fields: FAILED },
  'job.put_off': {
    level: 'warn',
    says: 'this version cannot run the job; tried again within the grace',
    fields: FAILED,
  },
  'job.moved': {
    level: 'info',
    says: 'the handler moved its job itself, in BullMQ’s way',
    fields: FAILED,
  },
  'job.returned': {
    level: 'info',
    says: 'a stop handed the job back, its attempts unchanged',
    fields: FAILED,
  },
  'job.dropped': {
    level: 'warn',
    says: 'the job was another worker’s when its run ended',
    fields: FAILED,
  },
  'job.overdue': {
    level: 'error',
    says: 'a handler goes on after its timeout',
    fields: ['queue', 'jobName', 'jobId', 'overdue', 'isReplaced'],
  },
  'downstream.opened': {
    level: 'error',
    says: 'attempts of a queue failed in a row: it is not fetched for a while (`breaker`)',
    fields: ['queue', 'failures', 'openForMs'],
  },
  'downstream.closed': {
    level: 'info',
    says: 'a job of such a queue succeeded: it is fetched again',
    fields: ['queue'],
  },
  'job.not_returned': {
    level: 'warn',
    says: 'a job could not be handed back',
    fields: ['queue', 'jobId'],
  },
  'job.backoff_unknown': {
    level: 'warn',
    says: 'a job asks for a backoff that is not known',
    fields: ['queue'],
  },
  'job.note_lost': {
    level: 'warn',
    says: 'a progress or log line of a handler could not be kept',
    fields: ['queue', 'jobName', 'jobId', 'attempt', 'traceId', 'kind'],
  },
  'worker.rebuilt': {
    level: 'error',
    says: 'a silent worker was replaced in place',
    fields: ['queue', 'dueJobs', 'freeSlots', 'silentMs', 'rebuilt'],
  },
  'worker.error': {
    level: 'debug',
    says: 'BullMQ reports an error',
    fields: ['queue', 'error', 'unlogged'],
  },
  'worker.setup_failed': {
    level: 'error',
    says: 'setup() failed; tried again',
    fields: ['queue', 'attempt'],
  },
  'worker.setup_slow': { level: 'warn', says: 'setup() takes long', fields: ['queue'] },
  'worker.teardown_failed': { level: 'error', says: 'teardown() failed', fields: ['queue'] },
  'worker.teardown_slow': {
    level: 'warn',
    says: 'teardown() did not end in time',
    fields: ['queue'],
  },
  'workers.quiet': { level: 'info', says: 'no more jobs are taken', fields: ['running'] },
  'workers.left': {
    level: 'warn',
    says: 'runs that had not ended by the deadline',
    fields: ['running'],
  },
  'fleet.unregistered': {
    level: 'warn',
    says: 'the replica cannot enter itself in the list of replicas; it works all the same',
    fields: [],
  },
  'hook.failed': { level: 'warn', says: 'a hook threw or hangs', fields: ['hook'] },
  'schedules.applied': {
    level: 'info',
    says: 'schedules were written',
    fields: ['queue', 'written', 'removed'],
  },
  'schedules.outdated': {
    level: 'warn',
    says: 'a newer file is in force; ours does nothing',
    fields: ['queue'],
  },
  'schedules.queue_unknown': {
    level: 'warn',
    says: 'a schedule names a queue without a handler here',
    fields: ['queue'],
  },
  'schedules.stuck': {
    level: 'warn',
    says: 'the next run of a schedule cannot be made (a bad pattern, or one of another producer); the present one waits',
    fields: ['queue', 'error'],
  },
  'schedules.failed': {
    level: 'debug',
    says: 'schedules could not be written; tried again',
    fields: ['error'],
  },
  'schedules.error': {
    level: 'debug',
    says: 'BullMQ reports an error',
    fields: ['queue', 'error'],
  },
  'client.error': {
    level: 'debug',
    says: 'BullMQ reports an error of a producer',
    fields: ['queue', 'error'],
  },
  'http.listening': { level: 'debug', says: 'HTTP is up', fields: ['address'] },
  'http.failed': {
    level: 'error',
    says: 'a request failed for no reason of its own',
    fields: ['method', 'path'],
  },
  'webhook.postponed': {
    level: 'warn',
    says: 'the receiver asks to be left alone for long; the job comes again then',
    fields: ['queue', 'jobId', 'jobName', 'attempt', 'traceId', 'delayMs'],
  },
  'webhook.retried': {
    level: 'warn',
    says: 'a delivery is tried again',
    fields: ['queue', 'jobId', 'jobName', 'attempt', 'traceId', 'delayMs'],
  },
};
