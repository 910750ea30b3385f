/** The examples of docs/producers.md, run as they stand there, with Redis and without. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import type { Accepted, Client, Left } from '../../src/index.ts';
import { freePort, startRedis } from '../support/redis-server.ts';
import { plainQueue } from '../support/worker-runtime.ts';

const page = readFileSync('docs/producers.md', 'utf8');

/** Writes the examples into a folder and runs them there. */
async function runExamples(
  redisUrl: string,
  beforeEnd?: (app: App) => Promise<void>,
): Promise<App & { left: Left }> {
  // Inside the repository, where its packages are found.
  mkdirSync('.cache', { recursive: true });
  const folder = mkdtempSync(join(resolve('.cache'), 'producers-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  for (const [, file, code] of page.matchAll(/```ts\n\/\/ (\S+)\n([\s\S]*?)```/g)) {
    mkdirSync(dirname(join(folder, file!)), { recursive: true });
    const own = code!
      .replace('redis://127.0.0.1:6379', redisUrl)
      .replace("'./journal'", JSON.stringify(join(folder, 'journal')));
    writeFileSync(join(folder, file!), own);
  }
  const run = (file: string) => import(pathToFileURL(join(folder, file)).href);
  const app = (await run('app.ts')) as App;
  await expect(app.client.enqueue('mail', 'x', {})).resolves.toBeDefined();
  await run('bullmq.ts');
  await beforeEnd?.(app);
  return { ...app, left: ((await run('end.ts')) as { left: Left }).left };
}

interface App {
  client: Client;
  welcome: Accepted;
  many: Accepted[];
  book: Accepted;
}

it('adds the jobs of the page', async () => {
  const redis = await startRedis();
  // On a busy machine an answer of Redis may be late, and a job goes through the journal.
  const inRedis = async ({ client, welcome, many, book }: App) => {
    const ids = {
      mail: [welcome.id, 'welcome-bob'],
      report: many.map(({ id }) => id),
      book: [book.id],
    };
    for (const [queue, all] of Object.entries(ids)) {
      for (const id of all) {
        await expect.poll(() => client.job(queue, id)).toMatchObject({ stored: 'redis' });
      }
    }
  };
  const { welcome, left } = await runExamples(redis.url, inRedis);
  expect(left).toMatchObject({ jobs: 0, path: expect.stringMatching(/journal\/client-/) });
  await using mail = plainQueue(redis.url, 'mail');
  expect(await mail.getJob(welcome.id)).toMatchObject({
    data: { to: 'ada@example.org', text: 'Welcome' },
  });
  expect(await mail.getJob('welcome-bob')).toMatchObject({ name: 'welcome' });
  expect(await mail.getJobCounts()).toMatchObject({ waiting: 4 });
  await using report = plainQueue(redis.url, 'report');
  expect(await report.getJobCounts()).toMatchObject({ waiting: 2, delayed: 1 });
  await using binding = plainQueue(redis.url, 'book');
  expect(await binding.getJobCounts()).toMatchObject({ 'waiting-children': 1 });
});

it('keeps them without a Redis, and tells how many and where', async () => {
  const { welcome, left } = await runExamples(`redis://127.0.0.1:${await freePort()}`);
  expect(welcome.stored).toBe('journal');
  expect(left.jobs).toBe(7);
});
