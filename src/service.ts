/**
 * The composition root: builds every part from the configuration, starts them in order and stops them
 * in reverse. Installs no signal handlers and ends no process: an app that embeds the service keeps
 * its own.
 *
 * Order of start: embedded Redis, journal, target, client, workers, schedules, HTTP, note. Nothing
 * here waits for Redis to answer.
 */
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import { unknownConcurrencies } from './config-hints.ts';
import { Credentials } from './credentials.ts';
import { ServiceStoppedError } from './errors.ts';
import { fleetRecords } from './http/fleet-records.ts';
import { keepingOf } from './http/health.ts';
import { createMetricsServer } from './http/metrics.ts';
import { createHttpServer, type HttpServer } from './http/server.ts';
import { type LoadedConfig, loadConfig } from './load-config.ts';
import { folderOfOutages } from './outage/archive.ts';
import { OutageStore } from './outage/store.ts';
import type { Part } from './part.ts';
import { createClient } from './queue/bullmq-client.ts';
import type { Client } from './queue/client.ts';
import { Fleet } from './queue/fleet.ts';
import { describeLife, type ReplicaSelf } from './queue/fleet-view.ts';
import { QueueFigures } from './queue/queue-figures.ts';
import { ResilientTarget } from './queue/resilient-target.ts';
import { loadSchedules } from './queue/schedule-file.ts';
import { createSchedules } from './queue/schedules.ts';
import type { EmbeddedRedis } from './redis/embedded.ts';
import { RunningParts, within } from './running-parts.ts';
import { drained } from './service-burst.ts';
import type { Service, ServiceOptions } from './service-contract.ts';
import { ServiceMetrics } from './service-metrics.ts';
import { ServiceNote } from './service-note.ts';
import {
  checkDataDir,
  openEmbedded,
  openServiceJournal,
  openTracing,
  withPause,
} from './service-parts.ts';
import { createLogger } from './telemetry/log.ts';
import { systemClock } from './time.ts';
import { loadHooks } from './worker/hooks.ts';
import { loadWorkers } from './worker/load.ts';
import { createWorkerRuntime, type WorkerRuntime } from './worker/runtime.ts';

/** After the handlers' grace, what remains (journal, connections, embedded Redis) has this long, ms. */
const CLOSING_MS = 1500;
/** The JavaScript store copies a stream at each access: short ones keep it usable. */
const SLOW_STORE_EVENTS_MAX = 100;

/** @throws ConfigError with every mistake at once */
export function createService(options: ServiceOptions = {}): Service {
  const loaded: LoadedConfig = options.config
    ? { config: options.config, effective: [], warnings: [] }
    : loadConfig({ overrides: options.settings ?? {}, isForService: true });
  return new HoldfastService(options, loaded);
}

class HoldfastService implements Service {
  config: Config;
  readonly log: Logger;
  readonly #options: ServiceOptions;
  readonly #warnings: readonly string[];
  readonly #parts: RunningParts;
  #embedded: EmbeddedRedis | undefined;
  #client: Client | undefined;
  #runtime: WorkerRuntime | undefined;
  #http: HttpServer | undefined;
  #credentials: Credentials | undefined;
  #fleet: Fleet | undefined;
  #target: ResilientTarget | undefined;
  #isStarted = false;
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: ServiceOptions, loaded: LoadedConfig) {
    this.#options = options;
    this.config = loaded.config;
    this.#warnings = loaded.warnings;
    this.log = options.log ?? createLogger(loaded.config);
    this.#parts = new RunningParts(this.log);
  }

  get client(): Client {
    if (!this.#client) throw new Error('The service is not started. Await start() first.');
    return this.#client;
  }

  get address(): string | undefined {
    return this.#http?.address;
  }

  get queues(): readonly string[] {
    const queues = this.#runtime?.state().queues ?? [];
    return queues.filter(({ concurrency }) => concurrency > 0).map(({ queue }) => queue);
  }

  get embedded(): Service['embedded'] {
    return this.#embedded;
  }

  start(): Promise<void> {
    this.#starting ??= this.#start();
    return this.#starting;
  }

  async #start(): Promise<void> {
    const startedAt = systemClock.now();
    for (const warning of this.#warnings) {
      this.log.warn({ event: 'config.warning' }, warning);
    }
    try {
      await this.#startParts();
      this.#goOn();
    } catch (error) {
      await this.#takeDown(systemClock.now());
      throw error;
    }
    this.#isStarted = true;
    const queues = this.#runtime!.state().queues.map(({ queue }) => queue);
    this.log.info(
      {
        event: 'service.started',
        queues,
        http: this.address,
        startMs: Math.round(systemClock.now() - startedAt),
      },
      `Holdfast ${this.config.version} is up: ${queues.length === 0 ? 'no queue' : queues.join(', ')}`,
    );
  }

  /** A stop that comes during the start is obeyed before the next part. @throws ServiceStoppedError */
  #goOn(): void {
    if (this.#stopping) throw new ServiceStoppedError();
  }

  async #startParts(): Promise<void> {
    this.#goOn();
    // Files first: what cannot work must not have opened anything.
    checkDataDir(this.config.dataDir);
    const workers =
      this.#options.workers ??
      (await loadWorkers(this.config.workersDir)).map(({ definition }) => definition);
    const { perQueue } = this.config.concurrency;
    const handled = workers.map(({ queue }) => queue);
    for (const warning of unknownConcurrencies(perQueue, handled)) {
      this.log.warn({ event: 'config.warning' }, warning);
    }
    const hooks = this.#options.hooks ?? (await loadHooks(this.config.configDir));
    const schedules = await loadSchedules(this.config.configDir, this.config.jobBytesMax);
    await this.#openEmbedded();
    const { config, log } = this;
    const around = { config, log, parts: this.#parts };

    const metrics = new ServiceMetrics(config, systemClock);
    await this.#run(metrics);
    const tracing = await openTracing(around);
    const journal = await openServiceJournal(around, (tookMs) => metrics.committed(tookMs));
    const records = new OutageStore({
      dir: folderOfOutages(config.dataDir),
      replica: config.replica,
      version: config.version,
      clock: systemClock,
      log,
    });
    await this.#run(records);
    const target = new ResilientTarget({
      config,
      log,
      journal,
      records,
      onCount: (what, by) => metrics.counted(what, by),
    });
    this.#target = target;
    await this.#run({
      name: 'redis',
      start: () => target.start(),
      stop: (deadline) => target.stop(deadline),
    });
    const client = createClient({
      target,
      prefix: config.redis.prefix,
      jobBytesMax: config.jobBytesMax,
      answerMs: config.resilience.enqueueTimeoutMs,
      log,
      eventsMax: this.#embedded?.durable === false ? SLOW_STORE_EVENTS_MAX : undefined,
      onAccepted: (accepted) => metrics.accepted(accepted),
      telemetry: tracing?.telemetry,
    });
    this.#client = client;
    await this.#run({
      name: 'client',
      start: async () => {},
      stop: async () => void (await client.close()),
    });

    this.#runtime = createWorkerRuntime({
      definitions: workers,
      hooks,
      config,
      target,
      client,
      log,
      clock: systemClock,
      meter: metrics.meter,
      telemetry: tracing?.telemetry,
      traceId: tracing && (() => tracing.traceId()),
    });
    const runtime = this.#runtime;
    const figures = new QueueFigures({
      clock: systemClock,
      queues: runtime.state().queues.map(({ queue }) => queue),
      prefix: config.redis.prefix,
      backoffOf: (queue) => workers.find((worker) => worker.queue === queue)?.backoff,
      counts: (queue) => client.counts(queue),
      redis: () => target.generation(),
    });
    metrics.follow({ target, journal, queues: () => runtime.state().queues, figures });
    const fleet = this.#createFleet(target, runtime);
    await this.#run(fleet);
    const unlisten = target.onOutage((outage) => runtime.tellOutage(outage));
    // Opening a queue writes its limits, before a worker would write BullMQ's.
    if (this.#embedded?.durable === false) {
      await Promise.allSettled(workers.map(({ queue }) => client.counts(queue)));
    }
    await this.#run(runtime);
    this.#parts.add('hooks', async () => unlisten());
    const queues = workers.map(({ queue }) => queue);
    const { prefix } = config.redis;
    await this.#run(
      createSchedules({ file: schedules, queues, target, prefix, log, clock: systemClock }),
    );

    this.#http = createHttpServer({
      config,
      client,
      target,
      outages: () => records.list(),
      fleetOutages: fleetRecords(() => target.generation(), prefix),
      warnings: () => metrics.warnings(),
      consumption: () => ({
        isStarted: this.#isStarted,
        isStopping: this.#stopping !== undefined,
        queues: runtime.state().queues.map((state) => withPause(state, figures)),
      }),
      redis: () => target.generation()?.client,
      look: () => figures.look(),
      keeping: () => keepingOf(journal.stats()),
      replicas: () => fleet.view(),
      journal: () => journal.stats(),
      metrics: (accept) => metrics.expose(accept),
      traced: tracing && ((headers, work) => tracing.continued(headers, work)),
      log,
    });
    await this.#run(this.#http);
    await this.#run(this.#createCredentials(this.#http));
    const { host, port } = config.metrics;
    const expose = (accept: string | undefined) => metrics.expose(accept);
    if (port !== undefined) await this.#run(createMetricsServer({ host, port, expose, log }));
    await this.#run(new ServiceNote(config, () => this.address, log));
  }

  #createCredentials(http: HttpServer): Credentials {
    const { config, settings } = this.#options;
    this.#credentials = new Credentials({
      config: this.config,
      load: config ? undefined : () => loadConfig({ overrides: settings ?? {} }).config,
      renewTokens: (renewed) => http.renewTokens(renewed),
      log: this.log,
    });
    return this.#credentials;
  }

  #createFleet(target: ResilientTarget, runtime: WorkerRuntime): Fleet {
    const { config, log } = this;
    const startedAt = new Date(systemClock.wall()).toISOString();
    const describe = (): ReplicaSelf => ({
      replica: config.replica,
      version: config.version,
      host: hostname(),
      pid: process.pid,
      startedAt,
      ...(this.address === undefined ? {} : { http: this.address }),
      ...describeLife({
        isStopping: this.#stopping !== undefined,
        target: target.state(),
        queues: runtime.state().queues,
      }),
    });
    this.#fleet = new Fleet({
      id: target.processId,
      prefix: config.redis.prefix,
      redis: () => target.generation()?.client,
      describe,
      log,
      clock: systemClock,
    });
    return this.#fleet;
  }

  async #openEmbedded(): Promise<void> {
    const { config, log } = this;
    this.#embedded = await openEmbedded({ config, log, parts: this.#parts });
    if (!this.#embedded) return;
    const { url } = this.#embedded;
    const redis = Object.freeze({ ...config.redis, url });
    this.config = Object.freeze({ ...config, redis });
  }

  async #run(part: Part): Promise<void> {
    this.#goOn();
    await this.#parts.start(part);
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const graceBy = systemClock.now() + this.config.shutdownGraceMs;
    // What is being started must not be taken down under the feet of the start.
    if (this.#starting && !this.#isStarted) {
      await within(
        this.#starting.catch(() => {}),
        graceBy,
      );
    }
    if (this.#isStarted) {
      const running = this.#runtime?.state().queues.reduce((sum, queue) => sum + queue.running, 0);
      this.log.info(
        { event: 'service.stopping', running },
        `stopping; ${running} jobs are running`,
      );
      this.#fleet?.changed();
    }
    await this.#takeDown(graceBy);
    if (this.#isStarted) this.log.info({ event: 'service.stopped' }, 'stopped');
  }

  async #takeDown(graceBy: number): Promise<void> {
    await this.#parts.stop((part) =>
      part === this.#runtime ? graceBy : Math.max(graceBy, systemClock.now()) + CLOSING_MS,
    );
  }

  quiet(): void {
    this.#runtime?.quiet();
  }

  async reload(): Promise<void> {
    await this.#credentials?.reload();
  }

  async drained(): Promise<void> {
    const runtime = this.#runtime;
    if (!runtime) return;
    await drained({
      queues: () => runtime.state().queues,
      journaledJobs: () => this.#target?.journal.stats().jobs ?? 0,
      counts: (queue) => this.client.counts(queue),
      isOver: () => this.#stopping !== undefined,
    });
  }
}
