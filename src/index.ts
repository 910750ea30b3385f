/** The public API of the package. */
export { defineWorker } from './worker/definition.ts';
export type {
  Handler,
  HandlerContext,
  Retention,
  WorkerDefinition,
} from './worker/definition.ts';
export * from './errors.ts';
