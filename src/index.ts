/** The public API of the package. */
export type { Config } from './config.ts';
export { type ClientOptions, createClient } from './create-client.ts';
export * from './errors.ts';
export { loadConfig } from './load-config.ts';
export type {
  Accepted,
  Client,
  ClientQueueOptions,
  FlowInput,
  JobView,
  Left,
} from './queue/client.ts';
export { defineQueue, type QueueDefinition } from './queue/queue-definition.ts';
export { createService } from './service.ts';
export type { Service, ServiceOptions } from './service-contract.ts';
export {
  defineWorker,
  type Handler,
  type HandlerContext,
  type Retention,
  type ServiceFacts,
  type WorkerDefinition,
} from './worker/definition.ts';
