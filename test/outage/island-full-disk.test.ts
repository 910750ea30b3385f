/** A queue that runs from a journal which fills its disk: it is emptied when Redis is back, and takes jobs in the next outage. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { JournalFullError } from '../../src/errors.ts';
import { journalStatus } from '../../src/journal/inspect.ts';
import { cutOff, kill, restored } from '../support/island.ts';
import { startRedis } from '../support/redis-server.ts';
import { canMount, mountSmall } from '../support/small-disk.ts';
import { plainQueue, type TestRuntime } from '../support/worker-runtime.ts';

const PAD = 'x'.repeat(20_000);

/** Enqueues until the disk was full so often, while jobs run. @returns what was accepted */
async function fill({ client }: TestRuntime, refusals: number): Promise<string[]> {
  const ids: string[] = [];
  for (let refused = 0; refused < refusals; ) {
    try {
      ids.push((await client.enqueue('q', 'n', { pad: PAD })).id);
    } catch (error) {
      if (!(error instanceof JournalFullError)) throw error;
      refused += 1;
    }
  }
  return ids;
}

it.runIf(canMount)('is emptied on the disk, twice, with every job run once', async () => {
  const redis = await startRedis({ aof: 'always' });
  const disk = mountSmall('16m');
  try {
    const runs: string[] = [];
    let filled = Promise.withResolvers<void>();
    const handler = async (job: { id?: string | undefined }) => {
      await filled.promise;
      runs.push(job.id!);
    };
    await using test = await cutOff(
      redis,
      [{ queue: 'q', island: true, concurrency: 5, handler }],
      { journalDir: disk.dir, resilience: { rollbackWindowMs: 300 }, isTargetLogged: true },
    );
    await using queue = plainQueue(redis.url, 'q');
    for (let outage = 0; outage < 2; outage += 1) {
      const ids = await fill(test, 1);
      expect(ids.length).toBeGreaterThan(300);
      filled.resolve();
      ids.push(...(await fill(test, 100)));
      await restored(redis, queue, ids, 'completed');
      expect(runs.toSorted()).toEqual(ids.toSorted());
      await expect
        .poll(() => journalStatus(disk.dir)[0], { timeout: 10_000 })
        .toMatchObject({ owner: 'living', jobs: 0, outcomes: 0 });
      const { path } = journalStatus(disk.dir)[0]!;
      await expect.poll(() => existsSync(join(path, 'reserve'))).toBe(true);
      runs.length = 0;
      filled = Promise.withResolvers();
      await kill(redis, test);
    }
    await redis.restart();
  } finally {
    disk.end();
    await redis.stop();
  }
});
