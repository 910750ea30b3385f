/**
 * The retake script against BullMQ's own keys, as a real server holds them. Fails when an upgrade of
 * BullMQ changes what its keys mean.
 */
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { commandName, fenceArgs } from '../../src/queue/fenced-scripts.ts';
import { Generation } from '../../src/queue/generation.ts';
import { type HeldJob, QueueLedger } from '../../src/queue/ledger.ts';
import {
  RETAKE_JOBS_MAX,
  type RetakeMode,
  type RetakeRequest,
  retake,
} from '../../src/queue/retake.ts';
import { systemClock } from '../../src/time.ts';
import { heldJob } from '../support/held-job.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

let server: RedisServer;
let client: Redis;
let generation: Generation;
let queue: Queue;
let plain: Worker;
let ledger: QueueLedger;
let runs = 0;

beforeAll(async () => {
  server = await startRedis();
  client = new Redis(server.url, { maxRetriesPerRequest: null });
  const before = systemClock.now();
  const [seconds] = await client.time();
  generation = new Generation(client, Number(seconds) * 1000 - before, systemClock);
});

beforeEach(async () => {
  await queue?.close();
  await plain?.close();
  await client.flushall();
  runs += 1;
  const connection = { host: server.host, port: server.port };
  queue = new Queue(`q${runs}`, { connection });
  plain = new Worker(`q${runs}`, null, { connection });
  ledger = new QueueLedger('bull', `q${runs}`);
});

afterAll(async () => {
  await queue.close();
  await plain.close();
  client.disconnect();
  await server.stop();
});

/** Takes the next job as a plain worker with `token` does, and says what we hold then. */
async function take(token: string): Promise<HeldJob> {
  const job = (await plain.getNextJob(token, { block: false }))!;
  const { timestamp, attemptsStarted, attemptsMade, name } = job;
  const now = systemClock.now();
  const taken = { token, timestamp, attemptsStarted, attemptsMade, name };
  return heldJob({ id: job.id!, ...taken, lockedAt: now, takenAt: now });
}

async function ask(
  jobs: HeldJob[],
  mode: RetakeMode = 'held',
  request: Partial<RetakeRequest> = {},
): ReturnType<typeof retake> {
  return await retake(generation, ledger, {
    jobs: jobs.map((job) => ({ job, mode })),
    doubtful: [],
    epoch: 'e1',
    beginsEpoch: true,
    member: 'me',
    server: 'run:history',
    identityChanged: false,
    expired: false,
    holdMs: 10_000,
    barrierMs: 500,
    guardMs: 60_000,
    aliveFrom: 0,
    fenceMs: 5000,
    processId: 'me',
    ...request,
  });
}

const lockOf = (job: HeldJob) => client.get(`${ledger.toKey(job.id)}:lock`);
const stateOf = (job: HeldJob) => queue.getJobState(job.id);

describe('a job in flight here', () => {
  it('is kept while it is active, and locked again when its lock had expired', async () => {
    await queue.add('a', {});
    const job = await take('t1');
    await client.del(`${ledger.toKey(job.id)}:lock`);
    expect((await ask([job])).verdicts).toEqual(['kept']);
    expect(await lockOf(job)).toBe('t1');
  });

  it('is no longer marked as stalled once it is kept', async () => {
    await queue.add('a', {});
    const job = await take('t1');
    await client.sadd(ledger.toKey('stalled'), job.id);
    await ask([job]);
    expect(await client.sismember(ledger.toKey('stalled'), job.id)).toBe(0);
  });

  it('is pulled back from wait when a rollback or a stalled check put it there', async () => {
    await queue.add('a', {});
    const job = await take('t1');
    await client.del(`${ledger.toKey(job.id)}:lock`);
    await client.lrem(ledger.toKey('active'), 0, job.id);
    await client.rpush(ledger.toKey('wait'), job.id);
    await client.hset(ledger.toKey(job.id), 'ats', 0, 'defa', 'stalled too often');
    expect((await ask([job])).verdicts).toEqual(['pulled']);
    expect(await stateOf(job)).toBe('active');
    expect(await lockOf(job)).toBe('t1');
    expect(await client.hmget(ledger.toKey(job.id), 'ats', 'defa')).toEqual(['1', null]);
  });

  it('is pulled back from prioritized and from delayed', async () => {
    await queue.add('a', {}, { priority: 3 });
    await queue.add('b', {});
    const b = await take('t1');
    const a = await take('t2');
    for (const [job, set] of [
      [a, 'prioritized'],
      [b, 'delayed'],
    ] as const) {
      await client.del(`${ledger.toKey(job.id)}:lock`);
      await client.lrem(ledger.toKey('active'), 0, job.id);
      await client.zadd(ledger.toKey(set), 1, job.id);
      await client.hset(ledger.toKey(job.id), 'ats', 0);
    }
    expect((await ask([a, b])).verdicts).toEqual(['pulled', 'pulled']);
    expect([await stateOf(a), await stateOf(b)]).toEqual(['active', 'active']);
  });

  it('is foreign when another worker has locked it or has started it since', async () => {
    await queue.add('a', {});
    await queue.add('b', {});
    const a = await take('t1');
    const b = await take('t2');
    await client.set(`${ledger.toKey(a.id)}:lock`, 'other');
    await client.hincrby(ledger.toKey(b.id), 'ats', 1);
    expect((await ask([a, b])).verdicts).toEqual(['foreign', 'foreign']);
    expect(await lockOf(a)).toBe('other');
  });

  it('is left alone when its id belongs to another job now, or to none', async () => {
    await queue.add('a', {}, { jobId: 'daily' });
    const old = await take('t1');
    await client.del(ledger.toKey(old.id));
    expect((await ask([old])).verdicts).toEqual(['missing']);
    await queue.add('a', {}, { jobId: 'daily', timestamp: old.timestamp + 1 });
    expect((await ask([old])).verdicts).toEqual(['replaced']);
  });
});

describe('an outcome that Redis may have', () => {
  it('is settled when the job is completed, or waits for its next attempt', async () => {
    await queue.add('a', {});
    await queue.add('b', {}, { attempts: 2, backoff: 60_000 });
    const completed = await take('t1');
    const retried = await take('t2');
    const [first, second] = await Promise.all([
      queue.getJob(completed.id),
      queue.getJob(retried.id),
    ]);
    await first!.moveToCompleted('ok', 't1', false);
    await second!.moveToFailed(new Error('no'), 't2', false);
    expect((await ask([completed, retried], 'unsettled')).verdicts).toEqual(['settled', 'settled']);
    expect(await stateOf(retried)).toBe('delayed');
  });
});

describe('a job taken by a request that got no reply', () => {
  it('goes back to the front, with its attempt unmade', async () => {
    await queue.add('first', {});
    await queue.add('second', {});
    const lost = await take('t1');
    const reply = await ask([], 'held', { doubtful: ['t1'] });
    expect(reply.handedBack).toEqual([lost.id]);
    expect(await client.hget(ledger.toKey(lost.id), 'ats')).toBe('0');
    expect((await take('t2')).id).toBe(lost.id);
  });

  it('goes back to prioritized when it has a priority', async () => {
    await queue.add('a', {}, { priority: 7 });
    const lost = await take('t1');
    await ask([], 'held', { doubtful: ['t1'] });
    expect(await stateOf(lost)).toBe('prioritized');
  });

  it('stays when the same token also holds a job that runs here', async () => {
    await queue.add('a', {});
    const job = await take('t1');
    const reply = await ask([job], 'held', { doubtful: ['t1'] });
    expect(reply).toMatchObject({ verdicts: ['kept'], handedBack: [] });
    expect(await stateOf(job)).toBe('active');
  });

  it('counts for stalled at once when its lock ran out, unless it is ours', async () => {
    await queue.addBulk(
      ['ours', 'lost'].map((jobId) => ({ name: 'x', data: {}, opts: { jobId } })),
    );
    const ours = await take('t0');
    await take('t1');
    await client.del(`bull:q${runs}:ours:lock`, `bull:q${runs}:lost:lock`);
    await client.del(`bull:q${runs}:stalled`);
    const reply = await ask([ours], 'held', { doubtful: ['t1'] });
    expect(reply.verdicts).toEqual(['kept']);
    expect(await client.smembers(`bull:q${runs}:stalled`)).toEqual(['lost']);
  });
});

describe('the fence', () => {
  const moveToActive = (epoch: string, deadline: number) =>
    generation.adapted.runCommand(
      commandName('moveToActive'),
      fenceArgs('moveToActive', Array(14).fill('x'), {
        epochKey: ledger.key('epoch:me'),
        deadline,
        epoch,
      }) as never,
    );

  it('lets nothing act that was sent in an epoch before', async () => {
    await ask([], 'held', { epoch: 'e2' });
    await expect(moveToActive('e1', generation.serverNow() + 5000)).rejects.toThrow('FENCED epoch');
  });

  const begin = (epoch: string) => ask([], 'held', { epoch });
  const askWithin = (epoch: string) => ask([], 'held', { epoch, beginsEpoch: false });
  const epochNow = () => client.get(ledger.key('epoch:me'));

  it('lets no recovery that slept put back the epoch of one that came after it', async () => {
    await begin('me:2');
    await expect(begin('me:1')).rejects.toThrow('FENCED epoch');
    await expect(begin('me:first')).rejects.toThrow('FENCED epoch');
    expect(await epochNow()).toBe('me:2');
    await begin('me:10');
    expect(await epochNow()).toBe('me:10');
  });

  it('takes nothing back for a question of an epoch before, nor for one about lost data', async () => {
    await queue.add('a', {});
    const job = await take('t1');
    await client.del(`${ledger.toKey(job.id)}:lock`);
    await expect(askWithin('me:1')).rejects.toThrow('FENCED epoch');
    await begin('me:1');
    await askWithin('me:1');
    await begin('me:2');
    const late = ask([job], 'held', { epoch: 'me:1', beginsEpoch: false });
    await expect(late).rejects.toThrow('FENCED epoch');
    expect([await epochNow(), await lockOf(job)]).toEqual(['me:2', null]);
  });

  it('lets nothing act after its time', async () => {
    await ask([], 'held', { epoch: 'e2' });
    await expect(moveToActive('e2', generation.serverNow() - 5000)).rejects.toThrow('FENCED late');
  });
});

describe('many jobs', () => {
  /** Jobs that wait although they run here, as a rollback leaves them: the first is the next to be taken. */
  async function rolledBack(count: number, token: string): Promise<HeldJob[]> {
    await queue.add('model', {});
    const model = await take('model');
    const jobs = Array.from({ length: count }, (_, n) => ({ ...model, id: `many-${n}`, token }));
    const sent = client.pipeline();
    for (const { id, timestamp } of jobs) {
      sent.hset(ledger.toKey(id), 'timestamp', timestamp, 'ats', 0);
      sent.lpush(ledger.toKey('wait'), id);
    }
    await sent.exec();
    return jobs;
  }

  async function scriptsOf(work: () => Promise<unknown>): Promise<number> {
    await client.config('RESETSTAT');
    await work();
    const calls = /cmdstat_eval(?:sha)?:calls=(\d+)/g;
    const counts = [...(await client.info('commandstats')).matchAll(calls)];
    return counts.reduce((sum, [, count]) => sum + Number(count), 0);
  }

  it('are taken back by several scripts, of which none is long', async () => {
    const jobs = await rolledBack(2 * RETAKE_JOBS_MAX + 1, 't');
    let verdicts: string[] = [];
    const scripts = await scriptsOf(async () => ({ verdicts } = await ask(jobs)));
    expect(scripts).toBe(3);
    expect(verdicts).toEqual(jobs.map(() => 'pulled'));
    expect(await queue.getJobCountByTypes('wait')).toBe(0);
    expect(await client.llen(ledger.toKey('active'))).toBe(jobs.length + 1);
    expect((await ask(jobs)).verdicts).toEqual(jobs.map(() => 'kept'));
    expect(await client.llen(ledger.toKey('active'))).toBe(jobs.length + 1);
  });

  it('do not hide which jobs a token in doubt holds', async () => {
    const jobs = await rolledBack(RETAKE_JOBS_MAX + 1, 't');
    const last = jobs.at(-1)!;
    await ask([last]);
    await queue.add('stray', {}, { lifo: true });
    // The reply of this take is lost. Its token is that of a job which the last script takes back.
    const stray = await take('t');
    const reply = await ask(jobs, 'held', { doubtful: ['t'] });
    expect(reply.handedBack).toEqual([stray.id]);
    expect(reply.verdicts.at(-1)).toBe('kept');
    expect([await stateOf(stray), await stateOf(last)]).toEqual(['waiting', 'active']);
  });
});

describe('the fleet', () => {
  it('waits behind the barrier until every member that was alive has taken back its own', async () => {
    await ask([], 'held', { member: 'other' });
    const changed = { identityChanged: true, server: 'second', aliveFrom: 1 };
    expect((await ask([], 'held', changed)).barrierMs).toBeGreaterThan(0);
    expect((await ask([], 'held', { ...changed, member: 'other' })).barrierMs).toBe(0);
  });

  it('waits again when another outage strikes before all are back', async () => {
    await ask([], 'held', { member: 'other' });
    const changed = { identityChanged: true, server: 'second', aliveFrom: 1 };
    await ask([], 'held', changed);
    await client.del(ledger.key('barrier'));
    const later = { ...changed, aliveFrom: generation.serverNow() + 1000 };
    expect((await ask([], 'held', later)).barrierMs).toBeGreaterThan(0);
    await client.del(ledger.key('barrier'));
    // It has healed all of its own, and is cut off for a moment.
    const same = { ...later, identityChanged: false };
    expect((await ask([], 'held', same)).barrierMs).toBeGreaterThan(0);
    expect((await ask([], 'held', { ...changed, member: 'other' })).barrierMs).toBe(0);
    await client.del(ledger.key('barrier'));
    expect((await ask([], 'held', same)).barrierMs).toBe(0);
  });

  it('waits again for a minute at most, and not for a newcomer', async () => {
    await ask([], 'held', { member: 'dead' });
    const changed = { identityChanged: true, server: 'second', aliveFrom: 1 };
    await ask([], 'held', changed);
    await client.del(ledger.key('barrier'));
    const newcomer = { ...changed, identityChanged: false, member: 'new', barrierMs: 0 };
    expect((await ask([], 'held', newcomer)).barrierMs).toBe(0);
    const since = Math.floor(generation.serverNow() - 60_001);
    await client.hset(ledger.key('barrier:server'), 'since', since);
    expect((await ask([], 'held', changed)).barrierMs).toBe(0);
  });

  it('waits after a server was demoted and promoted again, which keeps its run id', async () => {
    await ask([], 'held', { member: 'other' });
    const changed = { identityChanged: true, aliveFrom: 1 };
    await ask([], 'held', { ...changed, server: 'run:second' });
    await client.del(ledger.key('barrier'));
    expect((await ask([], 'held', { ...changed, server: 'run:third' })).barrierMs).toBeGreaterThan(
      0,
    );
  });

  it('waits no longer because one that is back asks whose a job is', async () => {
    await ask([], 'held', { member: 'other' });
    const changed = { identityChanged: true, server: 'second', aliveFrom: 1 };
    await ask([], 'held', changed);
    await ask([], 'held', { server: 'second', barrierMs: 0 });
    expect((await ask([], 'held', { ...changed, member: 'other' })).barrierMs).toBe(0);
  });

  it('waits for nobody who was silent before the outage', async () => {
    await ask([], 'held', { member: 'gone' });
    const reply = await ask([], 'held', {
      identityChanged: true,
      server: 'second',
      aliveFrom: generation.serverNow() + 1000,
    });
    expect(reply.barrierMs).toBe(0);
  });

  it('holds stalled checks only when a lock had expired or the identity changed', async () => {
    await ask([]);
    expect(await client.exists(ledger.key('stalled-check'))).toBe(0);
    await ask([], 'held', { expired: true });
    expect(await client.pttl(ledger.key('stalled-check'))).toBeGreaterThan(9000);
  });

  it('keeps plain workers from recovering stalled jobs', async () => {
    await ask([]);
    expect(await client.pttl(ledger.toKey('stalled-check'))).toBeGreaterThan(50_000);
  });
});
