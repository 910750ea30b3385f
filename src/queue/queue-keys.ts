/**
 * What a queue has in Redis beside its jobs. A job is the key `bull:<queue>:<id>`, so an id that is one of
 * these names overwrites what the queue is made of, or is never added at all.
 */

/** BullMQ's keys and the type of each: Redis answers WRONGTYPE to every command for another one. */
export const BULLMQ_KEYS = {
  active: 'list',
  completed: 'zset',
  delayed: 'zset',
  events: 'stream',
  failed: 'zset',
  id: 'string',
  limiter: 'string',
  marker: 'zset',
  meta: 'hash',
  paused: 'list',
  pc: 'string',
  prioritized: 'zset',
  repeat: 'zset',
  stalled: 'set',
  'stalled-check': 'string',
  wait: 'list',
  'waiting-children': 'zset',
} as const;

/** Names that stand before a colon: BullMQ's of deduplication and metrics (`bull:q:de:<id>`), and ours. */
const GROUPS = ['de', 'dn', 'metrics', 'holdfast'];

/** What else BullMQ deletes by name: keys of its older versions. */
const FORMER_KEYS = ['delay', 'priority'];

/** The fleet's keys (`bull:holdfast:replicas`), which a queue of the name `holdfast` would share. */
const FLEET_KEYS = ['outages', 'replicas'];

const RESERVED: ReadonlySet<string> = new Set([
  ...Object.keys(BULLMQ_KEYS),
  ...GROUPS,
  ...FORMER_KEYS,
  ...FLEET_KEYS,
]);

/** Whether a job of this id would be, or overwrite, what queues have in Redis beside their jobs. */
export function isKeyOfQueue(jobId: string): boolean {
  const colon = jobId.indexOf(':');
  // Ids of three parts are BullMQ's own face's to allow.
  return colon < 0 ? RESERVED.has(jobId) : GROUPS.includes(jobId.slice(0, colon));
}
