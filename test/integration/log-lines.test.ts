/** Log lines of a handler whose connection breaks while they are on their way. */
import type { Queue } from 'bullmq';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startProxy, type TcpProxy } from '../support/proxy.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { plainQueue, startRuntime, type TestRuntime } from '../support/worker-runtime.ts';

let server: RedisServer;
let door: TcpProxy;
let queue: Queue & AsyncDisposable;
let begun: PromiseWithResolvers<void>;
let broken: PromiseWithResolvers<void>;
let said: PromiseWithResolvers<void>;
let healed: PromiseWithResolvers<void>;

beforeEach(async () => {
  server = await startRedis();
  door = await startProxy(server.port);
  queue = plainQueue(server.url, 'q');
  begun = Promise.withResolvers();
  broken = Promise.withResolvers();
  said = Promise.withResolvers();
  healed = Promise.withResolvers();
});
afterEach(async () => {
  await queue.close();
  await door.stop();
  await server.stop();
});

/** A handler that says `before`, all of `meanwhile` while something is broken, and `after` when it is not. */
function runtime(before: string[], meanwhile: string[], after: string[]): Promise<TestRuntime> {
  return startRuntime(door.url, [
    {
      queue: 'q',
      handler: async (job) => {
        for (const line of before) await job.log(line);
        begun.resolve();
        await broken.promise;
        await Promise.all(meanwhile.map((line) => job.log(line)));
        said.resolve();
        await healed.promise;
        for (const line of after) await job.log(line);
      },
    },
  ]);
}

/** The job's lines after an outage that began while it said some. */
async function linesAfter(test: TestRuntime, spoil: () => void, options = {}): Promise<string[]> {
  const { id } = await queue.add('n', {}, options);
  await begun.promise;
  spoil();
  broken.resolve();
  await said.promise;
  door.reset();
  await expect.poll(() => test.target.state().breaker).not.toBe('closed');
  await door.heal();
  await expect.poll(() => test.target.state().breaker).toBe('closed');
  healed.resolve();
  await test.line('job.completed', { jobId: id });
  return (await queue.getJobLogs(id!)).logs;
}

describe('log lines', () => {
  it.each<[string, string[]]>([
    ['the first of a job', []],
    ['behind others', ['same', 'a']],
  ])('are written once when Redis took them and its answers were lost: %s', async (_, before) => {
    await using test = await runtime(before, ['same', 'same', 'b'], ['same', 'c']);
    const lines = await linesAfter(test, () => door.dropReplies({ forever: true }));
    expect(lines).toEqual([...before, 'same', 'same', 'b', 'same', 'c']);
  });

  it('are written when Redis never got them', async () => {
    await using test = await runtime(['same', 'a'], ['same', 'same', 'b'], ['same', 'c']);
    const lines = await linesAfter(test, () => door.blackHole({ forever: true }));
    expect(lines).toEqual(['same', 'a', 'same', 'same', 'b', 'same', 'c']);
  });

  it('are written once when the answer to one that was kept is lost too', async () => {
    await using test = await runtime(['a'], ['b', 'twin-line', 'twin-line'], ['c']);
    const struck = Promise.withResolvers<void>();
    door.onRequest('twin-line', 'passed', (connection) => {
      connection.dropReplies({ forever: true });
      struck.resolve();
    });
    const { id } = await queue.add('n', {});
    await begun.promise;
    door.cut();
    await expect.poll(() => test.target.state().breaker).not.toBe('closed');
    broken.resolve();
    await said.promise;
    await door.heal();
    await struck.promise;
    await expect
      .poll(async () => (await queue.getJobLogs(id!)).logs)
      .toEqual(['a', 'b', 'twin-line']);
    const before = test.target.generation();
    door.reset();
    await expect.poll(() => test.target.generation() ?? before).not.toBe(before);
    healed.resolve();
    await test.line('job.completed', { jobId: id });
    expect((await queue.getJobLogs(id!)).logs).toEqual(['a', 'b', 'twin-line', 'twin-line', 'c']);
  });

  it('come twice rather than not at all where only the last are kept', async () => {
    await using test = await runtime(['a'], ['b'], ['c']);
    const lost = () => door.dropReplies({ forever: true });
    expect(await linesAfter(test, lost, { keepLogs: 4 })).toEqual(['a', 'b', 'b', 'c']);
  });
});
