/**
 * One side of the demo: a redis-server of its own, two worker processes of 10 slots, a producer, and what
 * can be counted from outside. Both sides are the same but for what stands between BullMQ and Redis.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Queue } from 'bullmq';
import pino from 'pino';
import { openJournal } from '../src/journal/journal.ts';
import { createClient } from '../src/queue/bullmq-client.ts';
import { ResilientTarget } from '../src/queue/resilient-target.ts';
import { systemClock } from '../src/time.ts';
import { RunLedger, runOf } from '../test/outage/harness/run-ledger.ts';
import { type Program, WorkerProcess } from '../test/outage/harness/worker-process.ts';
import type { Work } from '../test/outage/sut/settings.ts';
import { testConfig } from '../test/support/config.ts';
import { type RedisServer, startRedis } from '../test/support/redis-server.ts';

/** An enqueue without an answer for this long hangs, ms. */
const HUNG_MS = 5000;
const QUEUE = 'work';
const PREFIX = 'bull';

/** Adds one job; resolves when it is accepted. */
interface Producer {
  add(id: string, work: Work): Promise<unknown>;
  close(): Promise<unknown>;
}

interface Enqueue {
  id: string;
  askedAt: number;
  answer: 'accepted' | 'refused' | undefined;
  /** How long the answer took, ms. */
  tookMs: number;
  inOutage: boolean;
}

/** What the screen shows of a side. */
export interface SideView {
  name: string;
  isUp: boolean;
  /** By the jobs that were in flight: how far each is. */
  inFlight: ('running' | 'done' | 'again')[];
  accepted: number;
  refused: number;
  hung: number;
  lost: number;
  twice: number;
  ended: number;
  firstJobMs: number | undefined;
  logLines: number;
}

export class Side {
  readonly name: string;
  readonly #server: RedisServer;
  readonly #dir = mkdtempSync(join(tmpdir(), 'holdfast-demo-'));
  readonly #ledger = new RunLedger(join(this.#dir, 'ledger.jsonl'));
  readonly #workers: WorkerProcess[] = [];
  readonly #enqueues: Enqueue[] = [];
  readonly #inFlight: string[] = [];
  #producer: Producer | undefined;
  #isUp = true;
  #answersAt: number | undefined;

  constructor(name: string, server: RedisServer) {
    this.name = name;
    this.#server = server;
  }

  static async start(name: string, program: Program): Promise<Side> {
    const side = new Side(name, await startRedis({ aof: true }));
    await side.#begin(program);
    return side;
  }

  async #begin(program: Program): Promise<void> {
    for (const workerId of ['worker-1', 'worker-2']) {
      this.#workers.push(
        new WorkerProcess({
          program,
          settings: {
            workerId,
            redis: { url: this.#server.url },
            dataDir: join(this.#dir, 'data'),
            ledger: this.#ledger.path,
            queues: { [QUEUE]: 10 },
            lockDurationMs: 30_000,
            stalledIntervalMs: 30_000,
            shutdownGraceMs: 2000,
            onLeaseLost: 'continue',
          },
        }),
      );
    }
    await Promise.all(this.#workers.map((worker) => worker.started()));
    this.#producer =
      program === 'plain'
        ? plainProducer(this.#server.url)
        : await holdfastProducer(this.#server.url, join(this.#dir, 'data'));
  }

  /** Jobs that will be in flight when the server dies. */
  async fill(lengthsMs: readonly number[]): Promise<void> {
    for (const [i, ms] of lengthsMs.entries()) {
      this.#inFlight.push(`in-flight-${i}`);
      await this.#producer!.add(`in-flight-${i}`, { ms, value: `in-flight-${i}` });
    }
  }

  get running(): number {
    return this.#ledger.running().length;
  }

  /** Asks for one more job; the answer is counted when it comes. */
  enqueue(): void {
    const id = `later-${this.#enqueues.length}`;
    const asked: Enqueue = {
      id,
      askedAt: performance.now(),
      answer: undefined,
      tookMs: 0,
      inOutage: !this.#isUp,
    };
    this.#enqueues.push(asked);
    const answered = (answer: 'accepted' | 'refused') => (): void => {
      asked.answer = answer;
      asked.tookMs = performance.now() - asked.askedAt;
    };
    this.#producer!.add(id, { ms: 100, value: id }).then(answered('accepted'), answered('refused'));
  }

  async kill(): Promise<void> {
    this.#isUp = false;
    await this.#server.kill();
  }

  async restart(): Promise<void> {
    await this.#server.restart();
    this.#isUp = true;
    this.#answersAt = Date.now();
  }

  /** Everything that was accepted has run to its end, and nothing runs. */
  get isDone(): boolean {
    const view = this.view();
    return view.lost === 0 && this.running === 0 && view.ended >= this.#inFlight.length;
  }

  view(): SideView {
    const lines = this.#ledger.lines();
    const ended = new Set(lines.flatMap(({ what, id }) => (what === 'end' ? [id] : [])));
    const again = new Set(this.#ledger.repeated().map(({ id }) => id));
    const during = this.#enqueues.filter(({ inOutage }) => inOutage);
    const hangs = ({ answer, askedAt, tookMs }: Enqueue): boolean =>
      (answer === undefined ? performance.now() - askedAt : tookMs) > HUNG_MS;
    const owed = [
      ...this.#inFlight,
      ...this.#enqueues.flatMap(({ id, answer }) => (answer === 'accepted' ? [id] : [])),
    ];
    const first = lines.find(
      (line) =>
        line.what === 'start' && this.#answersAt !== undefined && line.at >= this.#answersAt,
    );
    return {
      name: this.name,
      isUp: this.#isUp,
      inFlight: this.#inFlight.map((id) =>
        again.has(id) ? 'again' : ended.has(id) ? 'done' : 'running',
      ),
      accepted: during.filter((one) => one.answer === 'accepted' && !hangs(one)).length,
      refused: during.filter((one) => one.answer === 'refused' && !hangs(one)).length,
      hung: during.filter(hangs).length,
      lost: owed.filter((id) => !ended.has(id)).length,
      twice: new Set(this.#ledger.repeated().map(runOf)).size,
      ended: ended.size,
      firstJobMs: first && this.#answersAt !== undefined ? first.at - this.#answersAt : undefined,
      logLines: this.#workers.reduce((sum, worker) => sum + worker.outageLines().length, 0),
    };
  }

  async stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.kill()));
    await this.#producer?.close();
    await this.#server.stop();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** A Queue as most people make it. */
function plainProducer(url: string): Producer {
  const queue = new Queue(QUEUE, { connection: { url } });
  // Plain BullMQ prints each failed attempt to reconnect; here it is counted by what comes back.
  queue.on('error', () => undefined);
  return {
    add: (id, work) => queue.add('work', work, { jobId: id }),
    close: () => Promise.race([queue.close(), afterMs(500)]),
  };
}

async function holdfastProducer(url: string, dir: string): Promise<Producer> {
  const log = pino({ level: 'silent' });
  const base = testConfig();
  const journal = await openJournal({
    ...base.resilience.journal,
    dir,
    replica: 'producer',
    clock: systemClock,
    log,
  });
  const target = new ResilientTarget({
    config: { ...base, redis: { ...base.redis, url } },
    log,
    journal,
  });
  await target.start();
  const client = createClient({ target, prefix: PREFIX, jobBytesMax: base.jobBytesMax, log });
  return {
    add: (id, work) => client.enqueue(QUEUE, 'work', work, { jobId: id }),
    async close() {
      await client.close();
      await target.stop(systemClock.now() + 500);
      await journal.close();
    },
  };
}

function afterMs(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
