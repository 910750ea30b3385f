/**
 * The methods of BullMQ's backend that send plain commands, outside `execCommand` (redis-queue-backend.js of
 * BullMQ 6.7): each must pass the breaker by itself.
 */
import { RedisQueueBackend } from 'bullmq';

const DIRECT_METHODS = [
  'clearLogs',
  'deleteDeduplicationKey',
  'getClientList',
  'getDeduplicationJobId',
  'getDependencies',
  'getIgnoredChildrenFailures',
  'getJobData',
  'getJobLogs',
  'getJobSchedulerData',
  'getJobSchedulersCount',
  'getJobSchedulersRange',
  'getProcessedChildrenValues',
  'getQueueMeta',
  'getQueueMetaField',
  'getQueueMetaFields',
  'hasQueueMetaField',
  'isJobInState',
  'isJobScheduler',
  'publishEvent',
  'removeDeprecatedPriorityKey',
  'removeQueueMetaFields',
  'removeRateLimitKey',
  'setQueueMeta',
  'trimEvents',
] as const;

type Method = (...args: unknown[]) => Promise<unknown>;

/** Their names, and what BullMQ does in each. */
export function directMethods(): [name: string, inherited: Method][] {
  return DIRECT_METHODS.map((name) => [name, RedisQueueBackend.prototype[name] as Method]);
}
