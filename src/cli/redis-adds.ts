/**
 * Jobs straight into Redis, each with an answer of its own: a clear no leaves no doubt, what was kept
 * before it stays known, and only what got no answer is asked for again, under its id.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Queue } from 'bullmq';
import { OutcomeUnknownError, RedisUnavailableError } from '../errors.ts';
import type { JobInput } from '../http/job-input.ts';
import type { Accepted } from '../queue/client.ts';
import { conditions } from '../redis/condition-catalogue.ts';
import { conditionOf } from '../redis/conditions.ts';
import { BatchError } from './batch-error.ts';
import { reasonOf } from './reason.ts';
import { isReply, type RedisLink } from './redis-link.ts';

/** Somebody sits in front: after this time without any answer the command says so, ms. */
const SILENCE_MS = 2500;
/** A slow line (2 Mbit/s) needs time for a large job, bytes/ms. */
const LINE_BYTES_PER_MS = 250;
/** Between two tries to reach Redis again, ms. */
const AGAIN_MS = 100;
const LOOK_MS = 300;

/**
 * Resolves when all are kept.
 * @throws RedisUnavailableError: one job that is not kept; OutcomeUnknownError: one of which nobody knows;
 * BatchError: of many
 */
export async function addStraight(
  link: RedisLink,
  queue: string,
  jobs: readonly JobInput[],
): Promise<Accepted[]> {
  const adds = new Adds(link, link.queue(queue), jobs);
  await adds.run();
  const { kept, unknown } = adds;
  if (kept.length === jobs.length) return kept;
  const reason = reasonFor(link, jobs.length, unknown, adds.refusal);
  if (jobs.length === 1) throw reason;
  throw new BatchError(kept, unknown, reason);
}

function reasonFor(
  link: RedisLink,
  count: number,
  unknown: readonly string[],
  refusal: unknown,
): Error {
  const isMistake =
    !(refusal instanceof Silence) && !isReply(refusal) && conditionOf(refusal) === undefined;
  const { condition, cause } = (isMistake ? undefined : link.why(refusal)) ?? {};
  if (condition === undefined) {
    const isDoubtful = unknown.length > 0;
    return isDoubtful ? new OutcomeUnknownError(link.name, unknown, refusal) : (refusal as Error);
  }
  const { meaning, remedy } = conditions[condition];
  const said = count === 1 ? ' The job was not added.' : '';
  const away = new RedisUnavailableError('adding jobs', condition, undefined, cause, {
    what: `${link.name} is away (${condition}): ${meaning} (${reasonOf(cause)}).${said}`,
    // Of many the command says itself where to go on.
    remedy: count === 1 ? `${remedy} Then run the command again.` : remedy,
  });
  if (unknown.length === 0) return away;
  return new OutcomeUnknownError(`${link.name} (${condition}: ${meaning})`, unknown, away, remedy);
}

/** Nothing was heard. */
class Silence extends Error {}

class Adds {
  readonly #link: RedisLink;
  readonly #queue: Queue;
  readonly #jobs: readonly JobInput[];
  readonly #kept = new Set<string>();
  /** Sent and not answered. */
  readonly #unknown = new Set<string>();
  #lastAnswerAt = performance.now();
  /** The connection ended in the round under way. */
  #isLost = false;
  /** What the first was answered that is not kept, or what happened instead of an answer. */
  refusal: unknown;

  constructor(link: RedisLink, queue: Queue, jobs: readonly JobInput[]) {
    this.#link = link;
    this.#queue = queue;
    this.#jobs = jobs;
  }

  get kept(): Accepted[] {
    const ids = this.#jobs.map(idOf).filter((id) => this.#kept.has(id));
    return ids.map((id) => ({ id, stored: 'redis' }));
  }

  get unknown(): string[] {
    return this.#jobs.map(idOf).filter((id) => this.#unknown.has(id));
  }

  async run(): Promise<void> {
    await this.#round(this.#jobs);
    const endsAt = this.#lastAnswerAt + SILENCE_MS;
    while (this.#isLost && this.#unknown.size > 0 && performance.now() + AGAIN_MS < endsAt) {
      await sleep(AGAIN_MS);
      this.refusal = undefined;
      await this.#round(this.#open(), endsAt);
    }
    if (!this.#isLost && this.#unknown.size > 0) await this.#look();
  }

  async #round([first, ...others]: readonly JobInput[], endsAt?: number): Promise<void> {
    // It brings BullMQ's script to Redis; and when that says no, the others are not even sent.
    await this.#send([first!], endsAt);
    if (this.refusal === undefined) await this.#send(others, endsAt);
  }

  /** Resolves when all are answered, or the connection is lost, or nothing was heard for too long. */
  async #send(jobs: readonly JobInput[], endsAt = Number.POSITIVE_INFINITY): Promise<void> {
    this.#isLost = false;
    this.#lastAnswerAt = performance.now();
    const { promise: silence, resolve } = Promise.withResolvers<void>();
    const timer = setInterval(() => {
      const now = performance.now();
      const quietMs = now - this.#lastAnswerAt;
      const isQuiet = quietMs > SILENCE_MS && quietMs > SILENCE_MS + this.#lineMs();
      if (!isQuiet && now < endsAt) return;
      this.refusal ??= new Silence(`no answer within ${Math.round(quietMs)} ms`);
      resolve();
    }, AGAIN_MS);
    await Promise.race([Promise.all(jobs.map((job) => this.#add(job))), silence]);
    clearInterval(timer);
  }

  async #add(job: JobInput): Promise<void> {
    const id = idOf(job);
    // What is asked for again and refused may be there all the same, from the first time.
    const isAgain = this.#unknown.has(id);
    this.#unknown.add(id);
    try {
      await this.#queue.add(job.name, job.data, job.options);
      this.#lastAnswerAt = performance.now();
      this.#kept.add(id);
      this.#unknown.delete(id);
    } catch (error) {
      this.refusal ??= error;
      if (!isReply(error) && conditionOf(error) !== undefined) {
        this.#isLost = true;
        return;
      }
      this.#lastAnswerAt = performance.now();
      if (!isAgain) this.#unknown.delete(id);
    }
  }

  #open(): JobInput[] {
    return this.#jobs.filter((job) => this.#unknown.has(idOf(job)));
  }

  /** The time that the largest of the open jobs takes on a slow line. */
  #lineMs(): number {
    const bytes = this.#open().map(({ data }) => JSON.stringify(data).length);
    return Math.max(0, ...bytes) / LINE_BYTES_PER_MS;
  }

  /** Which of those that are not answered are there. */
  async #look(): Promise<void> {
    const looks = [...this.#unknown].map(async (id) => {
      if ((await this.#link.client.exists(this.#queue.toKey(id))) === 0) return;
      this.#unknown.delete(id);
      this.#kept.add(id);
    });
    await this.#link.call(Promise.all(looks), undefined, LOOK_MS).catch(() => {});
  }
}

function idOf({ options }: JobInput): string {
  return `${options.jobId}`;
}
