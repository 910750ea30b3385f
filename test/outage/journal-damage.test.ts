/**
 * A producer dies while Redis is away, and the files of its journal are damaged before the next one opens them:
 * what comes to Redis was accepted, and once; what does not is told.
 */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import pino from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createClient } from '../../src/create-client.ts';
import { layout } from '../../src/journal/folder.ts';
import type { Client } from '../../src/queue/client.ts';
import { cut, damaged, flip, type ImageFile } from '../support/journal-damage.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

/** Each opens a journal and replays some hundred jobs: half a second. */
const CASES = 20;
const SEED = 5;
const FILES: readonly ImageFile[] = ['database', 'wal', 'sharedMemory'];
const LISTS = ['wait', 'prioritized', 'delayed', 'waiting-children'];

let redis: RedisServer;
let plain: Redis;
let folder: string;
/** Ids that were acknowledged, each with what it stands for: a flow's with those of its children. */
const accepted = new Map<string, string[]>();
/** Every job as it comes to Redis when nothing is damaged, by its key. */
let whole: Map<string, Record<string, string>>;

beforeAll(async () => {
  redis = await startRedis();
  folder = mkdtempSync(join(tmpdir(), 'holdfast-damage-'));
  await redis.kill();
  const client = await open('living', []);
  await acceptAll(client);
  // As after a SIGKILL: nothing is under way.
  cpSync(join(folder, 'living'), join(folder, 'image'), { recursive: true });
  await client.close();
  await redis.restart();
  plain = new Redis(redis.url);
});
afterAll(async () => {
  plain.disconnect();
  await redis.stop();
  rmSync(folder, { recursive: true, force: true });
});

interface LogLine {
  level: number;
  quarantine?: string;
  rescued?: number;
}

function open(name: string, lines: LogLine[]): Promise<Client> {
  const write = (text: string) => void lines.push(JSON.parse(text));
  return createClient({
    redis: redis.url,
    journal: join(folder, name),
    name: 'producer',
    log: pino({ level: 'warn' }, { write }),
  });
}

function textOf(number: number): string {
  return `ä→日本🎈 ${number} `.repeat(number % 50 === 7 ? 1_500 : number % 23);
}

async function acceptAll(client: Client): Promise<void> {
  const note = (id: string, others: string[] = []) => accepted.set(id, [id, ...others]);
  for (let n = 0; n < 80; n += 1) {
    const options = n % 4 === 0 ? { delay: 60_000 + n } : n % 7 === 0 ? { priority: n } : {};
    note((await client.enqueue(`q${n % 2}`, `one-${n}`, { n, text: textOf(n) }, options)).id);
  }
  for (let n = 0; n < 10; n += 1) {
    const jobs = Array.from({ length: 25 }, (_, i) => ({
      name: `bulk-${n}-${i}`,
      data: { n, i, text: textOf(i) },
    }));
    for (const { id } of await client.enqueueMany('q0', jobs)) note(id);
  }
  for (let n = 0; n < 10; n += 1) {
    const names = [1, 2].map((i) => `flow-${n}-${i}`);
    const children = names.map((jobId) => ({
      queue: 'q1',
      name: 'child',
      data: { n },
      options: { jobId },
    }));
    note((await client.flow({ queue: 'q0', name: 'parent', data: { n }, children })).id, names);
  }
}

/** Every job that Redis has, by its id, as it stands there. */
async function jobsInRedis(): Promise<Map<string, Record<string, string>>> {
  const found = new Map<string, Record<string, string>>();
  for (const queue of ['q0', 'q1']) {
    const ids: string[] = [];
    for (const list of LISTS) {
      const key = `bull:${queue}:${list}`;
      if ((await plain.type(key)) === 'list') ids.push(...(await plain.lrange(key, 0, -1)));
      else ids.push(...(await plain.zrange(key, '0', '-1')));
    }
    for (const id of ids) {
      expect(found.has(id), `${id} is there twice`).toBe(false);
      found.set(id, await plain.hgetall(`bull:${queue}:${id}`));
    }
  }
  return found;
}

interface Replayed {
  jobs: Map<string, Record<string, string>>;
  damage: LogLine | undefined;
}

/** Opens a folder while Redis is there, waits until all has come there, and tells what has. */
async function replayed(name: string): Promise<Replayed> {
  await plain.flushall();
  const lines: LogLine[] = [];
  const client = await open(name, lines);
  const live: string[] = [];
  // What is enqueued goes to Redis itself once it has all from before.
  await expect
    .poll(async () => {
      const { id, stored } = await client.enqueue('q1', 'live', {});
      live.push(id);
      return stored;
    })
    .toBe('redis');
  await client.close();
  const jobs = await jobsInRedis();
  for (const id of live) expect(jobs.delete(id), `${id}, enqueued afterwards`).toBe(true);
  return { jobs, damage: lines.find(({ quarantine }) => quarantine !== undefined) };
}

it('brings all that was accepted to Redis when nothing is damaged', async () => {
  cpSync(join(folder, 'image'), join(folder, 'sound'), { recursive: true });
  const { jobs, damage } = await replayed('sound');
  expect(damage).toBeUndefined();
  expect([...jobs.keys()].sort()).toEqual([...accepted.values()].flat().sort());
  for (const { name, data } of jobs.values()) {
    const [kind, n, i] = name!.split('-');
    if (kind === 'one')
      expect(JSON.parse(data!)).toEqual({ n: Number(n), text: textOf(Number(n)) });
    if (kind !== 'bulk') continue;
    expect(JSON.parse(data!)).toEqual({ n: Number(n), i: Number(i), text: textOf(Number(i)) });
  }
  whole = jobs;
});

const damages = fc.tuple(
  fc.array(flip, { minLength: 1, maxLength: 6 }),
  fc.array(cut, { maxLength: 1 }),
);

it.for(fc.sample(damages, { numRuns: CASES, seed: SEED }).entries().toArray())(
  'brings only what was accepted, and once, and tells of the rest: case %$',
  async ([number, [flips, cuts]]) => {
    const name = `case-${number}`;
    cpSync(join(folder, 'image'), join(folder, name), { recursive: true });
    const files = layout(join(folder, name, 'producer'));
    const before = Object.fromEntries(
      FILES.map((which) => [which, readFileSync(files[which])]),
    ) as Record<ImageFile, Buffer>;
    const after = damaged(before, flips, cuts);
    for (const which of FILES) writeFileSync(files[which], after[which]);

    const { jobs, damage } = await replayed(name);
    for (const [id, job] of jobs) expect(job).toEqual(whole.get(id));
    // A flow is there as a whole or not at all.
    const here = [...accepted.values()].filter(([id]) => jobs.has(id!));
    expect([...jobs.keys()].sort()).toEqual(here.flat().sort());
    if (damage === undefined) expect(here).toHaveLength(accepted.size);
    else {
      expect(damage.rescued).toBe(here.length);
      expect(existsSync(join(damage.quarantine!, 'report.json'))).toBe(true);
      const kept = readFileSync(join(damage.quarantine!, 'journal.db-wal'));
      expect(kept.equals(after.wal)).toBe(true);
    }
  },
);
