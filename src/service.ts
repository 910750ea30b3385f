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
import { Credentials } from './credentials.ts';
import { ServiceStoppedError } from './errors.ts';
import type { Keeping } from './http/context.ts';
import { createMetricsServer } from './http/metrics.ts';
import { createHttpServer, type HttpServer } from './http/server.ts';
import { type Journal, type JournalStats, openJournal } from './journal/journal.ts';
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
import { type EmbeddedRedis, startEmbeddedRedis } from './redis/embedded.ts';
import { ServiceMetrics } from './service-metrics.ts';
import { ServiceNote } from './service-note.ts';
import { createLogger } from './telemetry/log.ts';
import { startTracing, type Tracing } from './telemetry/tracing.ts';
import { systemClock } from './time.ts';
import type { WorkerDefinition } from './worker/definition.ts';
import { type Hooks, loadHooks } from './worker/hooks.ts';
import { loadWorkers } from './worker/load.ts';
import { createWorkerRuntime, type WorkerRuntime } from './worker/runtime.ts';

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

/** After the handlers' grace, what remains (journal, connections, embedded Redis) has this long, ms. */
const CLOSING_MS = 1500;
/** A part is given up so long after its deadline, ms. */
const OVERDUE_MS = 250;
/** The JavaScript store copies a stream at each access: short ones keep it usable. */
const SLOW_STORE_EVENTS_MAX = 100;
/** How often an empty queue is looked for in a burst, ms. */
const BURST_LOOK_MS = 500;

/** @throws ConfigError with every mistake at once */
export function createService(options: ServiceOptions = {}): Service {
  const loaded: LoadedConfig = options.config
    ? { config: options.config, effective: [], warnings: [] }
    : loadConfig({ overrides: options.settings ?? {} });
  return new HoldfastService(options, loaded);
}

class HoldfastService implements Service {
  config: Config;
  readonly log: Logger;
  readonly #options: ServiceOptions;
  readonly #warnings: readonly string[];
  /** What was started, in order; stopped in reverse. */
  readonly #parts: Part[] = [];
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
  }

  get client(): Client {
    if (!this.#client) throw new Error('The service is not started. Await start() first.');
    return this.#client;
  }

  get address(): string | undefined {
    return this.#http?.address;
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
    const workers =
      this.#options.workers ??
      (await loadWorkers(this.config.workersDir)).map(({ definition }) => definition);
    const hooks = this.#options.hooks ?? (await loadHooks(this.config.configDir));
    const schedules = await loadSchedules(this.config.configDir, this.config.jobBytesMax);
    await this.#startEmbedded();
    const { config, log } = this;

    const metrics = new ServiceMetrics(config, systemClock);
    await this.#run(metrics);
    const tracing = await this.#startTracing();
    const journal = await this.#openJournal(metrics);
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
    this.#measure(metrics, { target, journal, runtime, client });
    const fleet = this.#createFleet(target, runtime);
    await this.#run(fleet);
    const unlisten = target.onOutage((outage) => runtime.tellOutage(outage));
    // Opening a queue writes its limits, before a worker would write BullMQ's.
    if (this.#embedded?.durable === false) {
      await Promise.allSettled(workers.map(({ queue }) => client.counts(queue)));
    }
    await this.#run(runtime);
    this.#parts.push({ name: 'hooks', start: async () => {}, stop: async () => unlisten() });
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
      warnings: () => target.warnings(),
      consumption: () => ({
        isStarted: this.#isStarted,
        isStopping: this.#stopping !== undefined,
        queues: runtime.state().queues,
      }),
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
    await this.#run(new ServiceNote(config, () => this.address));
  }

  async #startTracing(): Promise<Tracing | undefined> {
    const { replica, version } = this.config;
    const { endpoint, serviceName } = this.config.tracing;
    if (endpoint === undefined) return undefined;
    const tracing = await startTracing({ endpoint, serviceName, version, replica });
    this.#parts.push({
      name: 'traces',
      start: async () => {},
      stop: (deadline) => tracing.stop(deadline),
    });
    return tracing;
  }

  #measure(
    metrics: ServiceMetrics,
    parts: { target: ResilientTarget; journal: Journal; runtime: WorkerRuntime; client: Client },
  ): void {
    const { target, journal, runtime, client } = parts;
    const queues = () => runtime.state().queues;
    const figures = new QueueFigures({
      clock: systemClock,
      queues: queues().map(({ queue }) => queue),
      prefix: this.config.redis.prefix,
      counts: (queue) => client.counts(queue),
      redis: () => target.generation(),
    });
    metrics.follow({ target, journal, queues, figures });
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

  /** A Redis that is named is used; else one is brought along, which production refuses before. */
  async #startEmbedded(): Promise<void> {
    const { url, sentinels, clusterNodes } = this.config.redis;
    if (url !== undefined || sentinels.length > 0 || clusterNodes.length > 0) return;
    const { log } = this;
    const embedded = await startEmbeddedRedis({
      dataDir: this.config.dataDir,
      serverBin: this.config.redisServerBin,
      log,
    });
    this.#embedded = embedded;
    this.#parts.push({
      name: 'embedded Redis',
      start: async () => {},
      stop: (deadline) => embedded.stop(deadline),
    });
    this.config = Object.freeze({
      ...this.config,
      redis: Object.freeze({ ...this.config.redis, url: embedded.url }),
    });
  }

  async #openJournal(metrics: ServiceMetrics): Promise<Journal> {
    const { log } = this;
    const journal = await openJournal({
      ...this.config.resilience.journal,
      replica: this.config.replica,
      clock: systemClock,
      log,
      onCommit: (tookMs) => metrics.committed(tookMs),
    });
    for (const warning of journal.warnings) log.warn({ event: 'journal.warning' }, warning);
    this.#parts.push({
      name: 'journal',
      start: async () => {},
      stop: async () => {
        const { left } = await journal.close();
        if (left === 0) return;
        log.warn(
          { event: 'journal.left', entries: left, path: journal.path },
          `${left} outcomes are on disk and not in Redis; the next start with this folder writes them`,
        );
      },
    });
    return journal;
  }

  async #run(part: Part): Promise<void> {
    this.#goOn();
    this.#parts.push(part);
    await part.start();
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

  /** Stops what was started, in reverse; each part once. */
  async #takeDown(graceBy: number): Promise<void> {
    for (let part = this.#parts.pop(); part; part = this.#parts.pop()) {
      const deadline =
        part === this.#runtime ? graceBy : Math.max(graceBy, systemClock.now()) + CLOSING_MS;
      await this.#stopPart(part, deadline);
    }
  }

  /** A part that fails or does not come to its end must not keep the others from theirs. */
  async #stopPart(part: Part, deadline: number): Promise<void> {
    try {
      if ((await within(part.stop(deadline), deadline + OVERDUE_MS)) !== 'overdue') return;
      this.log.error(
        { event: 'part.overdue', part: part.name },
        `${part.name} did not stop in time`,
      );
    } catch (error) {
      this.log.error(
        { event: 'part.failed', part: part.name, err: error },
        `${part.name} failed to stop`,
      );
    }
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
    while (!this.#stopping) {
      const here = runtime.state().queues.filter(({ concurrency }) => concurrency > 0);
      if (here.every(({ running }) => running === 0) && (await this.#nothingWaits(here))) return;
      await new Promise<void>((resolve) => systemClock.after(BURST_LOOK_MS, resolve));
    }
  }

  async #nothingWaits(queues: readonly { queue: string }[]): Promise<boolean> {
    try {
      // Accepted jobs that only the journal has are work as well.
      if ((this.#target?.journal.stats().jobs ?? 0) > 0) return false;
      const counts = await Promise.all(queues.map(({ queue }) => this.client.counts(queue)));
      return counts.every(
        ({ waiting = 0, prioritized = 0, active = 0 }) => waiting + prioritized + active === 0,
      );
    } catch {
      // Redis is away: a burst waits for it like everything else.
      return false;
    }
  }
}

/** Whether one more accepted job would find room in the journal. */
function keepingOf({ entries, entriesMax, bytes, bytesMax }: JournalStats): Keeping {
  if (entries < entriesMax && bytes < bytesMax) return { canKeep: true };
  const reason = `the journal is full: ${entries} of ${entriesMax} entries, ${bytes} of ${bytesMax} bytes`;
  return { canKeep: false, reason };
}

/** The end of `work`, or `overdue` at an instant of the monotonic clock. */
async function within(work: Promise<unknown>, deadline: number): Promise<unknown> {
  let cancel: (() => void) | undefined;
  const overdue = new Promise<'overdue'>((resolve) => {
    const waitMs = Math.max(0, deadline - systemClock.now());
    cancel = systemClock.after(waitMs, () => resolve('overdue'));
  });
  try {
    return await Promise.race([work, overdue]);
  } finally {
    cancel?.();
  }
}
