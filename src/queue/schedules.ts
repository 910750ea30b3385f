/**
 * Keeps the job schedulers in Redis as `config/schedules.json` says. Ours carry the owner's mark in
 * their id (`<owner>/<id>`); what does not is never touched.
 *
 * In a rolling deploy replicas with an older and a newer file run side by side. Each queue remembers,
 * in a field of BullMQ's own meta hash, which contents it has seen in which order: who comes with one
 * that was followed by another is outdated and does nothing, while replicas with the newer one give
 * signs of life. After a rollback there are none, and the older content comes back by itself.
 * A `revision` in the file decides without waiting.
 *
 * What it must never do: fail the start because Redis is away, or move the next run of a schedule
 * that has not changed.
 */
import { Queue, type RedisQueueBackend } from 'bullmq';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { Part } from '../part.ts';
import type { Clock, Instant } from '../time.ts';
import { hashOf, type Schedule, type ScheduleFile } from './schedule-file.ts';
import type { RedisTarget } from './target.ts';

/** Pause between checks, ms: what Redis lost, or somebody removed, comes back within this time. */
const CHECK_MS = 2 * 60_000;
/** Checks without a sign of life of the newer content after which an older one takes over. */
const SILENT_CHECKS = 4;
/** After a failure that was not an outage, ms. */
const RETRY_MS = 10_000;
/** Contents that a queue remembers. */
const HASHES_MAX = 50;
/** A stop waits this long for a request under way, ms. */
const STOP_MS = 500;

export interface SchedulesOptions {
  file: ScheduleFile;
  /** Queues of this service's handlers: schedules that left the file are looked for there as well. */
  queues: readonly string[];
  target: Pick<RedisTarget, 'backendFactory' | 'connection' | 'state' | 'onChange'>;
  /** BullMQ's key prefix. */
  prefix: string;
  log: Logger;
  clock: Clock;
  checkMs?: number;
}

/** What a queue remembers of the files that it has seen. */
const stateSchema = z.object({
  /** Contents, oldest first. */
  hashes: z.array(z.string()),
  revision: z.int(),
  /** What was written, by schedule id: a hash of each. */
  applied: z.record(z.string(), z.string()),
  /** Sign of life of a replica with the last content, ms since the epoch. */
  seenAt: z.number(),
  /** All queues of the last content, so that one that is named nowhere any more is still found. */
  queues: z.array(z.string()),
});
export type QueueScheduleState = z.infer<typeof stateSchema>;

const EMPTY: QueueScheduleState = { hashes: [], revision: 0, applied: {}, seenAt: 0, queues: [] };

/** Whether another file came after this one. */
export function isOutdated(
  state: Pick<QueueScheduleState, 'hashes' | 'revision'>,
  file: Pick<ScheduleFile, 'hash' | 'revision'>,
): boolean {
  if (file.revision !== state.revision) return file.revision < state.revision;
  return state.hashes.includes(file.hash) && state.hashes.at(-1) !== file.hash;
}

export function createSchedules(options: SchedulesOptions): Part {
  return new Schedules(options);
}

type OpenQueue = Queue<unknown, unknown, string, unknown, unknown, string, RedisQueueBackend>;

class Schedules implements Part {
  readonly name = 'schedules';
  readonly #options: SchedulesOptions;
  readonly #queues = new Map<string, OpenQueue>();
  #unlisten: (() => void) | undefined;
  #cancelNext: (() => void) | undefined;
  #underWay: Promise<void> | undefined;
  #isStopped = false;
  /** Where this replica's file is outdated: the last sign of life seen, and in how many checks. */
  readonly #outdated = new Map<string, { seenAt: number; checks: number }>();

  constructor(options: SchedulesOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { target, file, queues, log } = this.#options;
    for (const queue of new Set(file.schedules.map((schedule) => schedule.queue))) {
      if (queues.includes(queue)) continue;
      log.warn(
        { event: 'schedules.queue_unknown', queue },
        `schedules add jobs to queue "${queue}", which no handler of this service consumes`,
      );
    }
    this.#unlisten = target.onChange((state) => {
      if (state.breaker === 'closed') this.#begin();
      // Nobody can give a sign of life while Redis is away.
      else for (const queue of this.#outdated.values()) queue.checks = 0;
    });
    if (target.state().breaker === 'closed') this.#begin();
  }

  async stop(deadline: Instant): Promise<void> {
    this.#isStopped = true;
    this.#unlisten?.();
    this.#cancelNext?.();
    const { clock } = this.#options;
    const waitMs = Math.max(0, Math.min(STOP_MS, deadline - clock.now()));
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const cancel = clock.after(waitMs, resolve);
    const closed = [...this.#queues.values()].map((queue) => queue.close());
    await Promise.race([late, Promise.allSettled([this.#underWay, ...closed])]);
    cancel();
    this.#queues.clear();
  }

  #begin(): void {
    if (this.#isStopped || this.#underWay) return;
    this.#cancelNext?.();
    this.#underWay = this.#reconcile().finally(() => {
      this.#underWay = undefined;
    });
  }

  async #reconcile(): Promise<void> {
    const { clock, log, target } = this.#options;
    let againMs = this.#options.checkMs ?? CHECK_MS;
    try {
      const pending = this.#queuesOfFile();
      const seen = new Set<string>();
      for (let queue = pending.shift(); queue !== undefined; queue = pending.shift()) {
        if (seen.has(queue) || this.#isStopped) continue;
        seen.add(queue);
        pending.push(...(await this.#reconcileQueue(queue)));
      }
    } catch (error) {
      // An outage ends with a change of the breaker, and that begins this again.
      if (target.state().breaker === 'closed') againMs = Math.min(againMs, RETRY_MS);
      log.debug(
        { event: 'schedules.failed', error: (error as Error).message },
        'the schedules were not brought up to date; they will be',
      );
    }
    if (!this.#isStopped) this.#cancelNext = clock.after(againMs, () => this.#begin());
  }

  #queuesOfFile(): string[] {
    const { file, queues } = this.#options;
    return [...new Set([...file.schedules.map(({ queue }) => queue), ...queues])];
  }

  /** Resolves with queues that an earlier content named. */
  async #reconcileQueue(name: string): Promise<string[]> {
    const { file } = this.#options;
    const wanted = file.schedules.filter(({ queue }) => queue === name);
    const queue = this.#open(name);
    const state = await this.#readState(queue);
    const here = await this.#ownIds(queue);
    if (isOutdated(state, file) && !this.#takesOver(name, state)) return [];
    this.#outdated.delete(name);
    const claimed: QueueScheduleState = {
      hashes: [...state.hashes.filter((hash) => hash !== file.hash), file.hash].slice(-HASHES_MAX),
      revision: file.revision,
      applied: state.applied,
      seenAt: this.#options.clock.wall(),
      queues: this.#queuesOfFile(),
    };
    // First of all: a replica with an older file that looks now must see that it is older.
    await this.#writeState(queue, claimed);
    const changed = wanted.filter(
      (schedule) => !here.has(schedule.id) || state.applied[schedule.id] !== hashOf(schedule),
    );
    const gone = [...here].filter((id) => !wanted.some((schedule) => schedule.id === id));
    for (const schedule of changed) await this.#upsert(queue, schedule);
    for (const id of gone) await queue.removeJobScheduler(this.#mark(id));
    if (changed.length === 0 && gone.length === 0) return state.queues;
    const applied = Object.fromEntries(wanted.map((s) => [s.id, hashOf(s)]));
    await this.#writeState(queue, { ...claimed, applied });
    this.#options.log.info(
      {
        event: 'schedules.applied',
        queue: name,
        written: changed.map(({ id }) => id),
        removed: gone,
      },
      `schedules of queue "${name}": ${changed.length} written, ${gone.length} removed`,
    );
    return state.queues;
  }

  async #upsert(queue: OpenQueue, schedule: Schedule): Promise<void> {
    const { cron, timezone, everyMs, name, data, options } = schedule;
    await queue.upsertJobScheduler(
      this.#mark(schedule.id),
      everyMs === undefined
        ? { pattern: cron!, ...(timezone === undefined ? {} : { tz: timezone }) }
        : { every: everyMs },
      { name, data, opts: options },
    );
  }

  /** Whether those who brought the newer content are gone; says once that this file is outdated. */
  #takesOver(queue: string, { seenAt, revision }: QueueScheduleState): boolean {
    const { file, log } = this.#options;
    const known = this.#outdated.get(queue);
    if (!known) {
      log.warn(
        { event: 'schedules.outdated', queue },
        `the schedules of queue "${queue}" come from a newer file than this replica's, and stay while replicas with it run; a higher "revision" in the file decides otherwise`,
      );
    }
    const checks = known?.seenAt === seenAt ? known.checks + 1 : 0;
    this.#outdated.set(queue, { seenAt, checks });
    return checks >= SILENT_CHECKS && revision === file.revision;
  }

  #mark(id: string): string {
    return `${this.#options.file.owner}/${id}`;
  }

  /** Ids of our schedulers of a queue, without the mark. */
  async #ownIds(queue: OpenQueue): Promise<Set<string>> {
    const flat = await queue.getBackend().getJobSchedulersRange(0, -1, true);
    const mark = this.#mark('');
    return new Set(
      flat
        .filter((key, i) => i % 2 === 0 && key.startsWith(mark))
        .map((key) => key.slice(mark.length)),
    );
  }

  get #field(): string {
    return `holdfast:schedules:${this.#options.file.owner}`;
  }

  async #readState(queue: OpenQueue): Promise<QueueScheduleState> {
    const text = await queue.getBackend().getQueueMetaField(this.#field);
    if (text === null) return EMPTY;
    try {
      return stateSchema.parse(JSON.parse(text));
    } catch {
      // Nobody else writes it; what cannot be read is as good as nothing.
      return EMPTY;
    }
  }

  async #writeState(queue: OpenQueue, state: QueueScheduleState): Promise<void> {
    await queue.getBackend().setQueueMeta({ [this.#field]: JSON.stringify(state) });
  }

  #open(name: string): OpenQueue {
    const known = this.#queues.get(name);
    if (known) return known;
    const { target, prefix, log } = this.#options;
    const queue = new Queue(
      name,
      { connection: target.connection, prefix },
      target.backendFactory,
    ) as unknown as OpenQueue;
    queue.on('error', (error) =>
      log.debug({ event: 'schedules.error', queue: name, error: error.message }),
    );
    this.#queues.set(name, queue);
    return queue;
  }
}
