/** What an app that embeds the service gives it and gets of it. Types only. */
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import type { Client } from './queue/client.ts';
import type { WorkerDefinition } from './worker/definition.ts';
import type { Hooks } from './worker/hooks.ts';

export interface ServiceOptions {
  /** A complete configuration; otherwise it is read from the environment. */
  config?: Config;
  /** Settings by the names of their variables, over the environment. */
  settings?: Readonly<Record<string, string>>;
  /** Handlers; otherwise the files of WORKERS_DIR. */
  workers?: readonly WorkerDefinition[];
  hooks?: Hooks;
  /** The app's own pino logger. */
  log?: Logger;
}

export interface Service {
  readonly config: Config;
  readonly log: Logger;
  /** Adds jobs and asks for them; usable from `start` on. */
  readonly client: Client;
  /** Where HTTP listens; undefined when it does not. */
  readonly address: string | undefined;
  /** Queues whose jobs this service takes: those of its handlers that QUEUES allows; none before `start`. */
  readonly queues: readonly string[];
  /** The Redis that was brought along; undefined when one was named. */
  readonly embedded: { url: string; kind: string; durable: boolean } | undefined;
  /**
   * Starts everything; does not wait for Redis.
   * @throws ConfigError, HandlerFilesError, HttpListenError, JournalError, and ServiceStoppedError when
   * `stop` was called meanwhile; nothing is left running then
   */
  start(): Promise<void>;
  /** Stops within SHUTDOWN_GRACE; idempotent, allowed before and during `start`. */
  stop(): Promise<void>;
  /** Takes no more jobs, goes on with those that run. */
  quiet(): void;
  /** Reads tokens, passwords and certificates again; stops nothing, says in the log how it went. */
  reload(): Promise<void>;
  /** Resolves when no job is waiting or running here any more, or the service stops: for `--burst`. */
  drained(): Promise<void>;
}
