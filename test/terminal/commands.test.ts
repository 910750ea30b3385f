/** Every command as an operator sees it, in a real terminal, with Redis and without. */
import { Queue } from 'bullmq';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { type Desk, openDesk } from './desk.ts';
import { Terminal } from './support.ts';

/** The promise is 3 s; a machine with other tests on it gets twice that for starting Node. */
const ANSWER_MS = 6000;

let redis: RedisServer;
let desk: Desk;
let env: Record<string, string>;
/** The service runs here; commands are typed in the other. */
let service: Terminal;
let shell: Terminal;

beforeAll(async () => {
  redis = await startRedis({ aof: true });
  const nightly = { id: 'nightly', queue: 'mail', cron: '0 3 * * *', data: {} };
  desk = await openDesk(
    redis,
    `export default { queue: 'mail', attempts: 2, backoff: { type: 'fixed', delay: 10 },
       async handler(job) {
         if (job.data.fail) throw new Error('no such recipient ' + 'and so on '.repeat(30));
         return { sent: job.data.to };
       } };`,
    [nightly],
  );
  ({ env, service, shell } = desk);
});
afterAll(() => desk[Symbol.dispose]());

describe('with Redis', () => {
  it('status shows service, replicas and queues, in colours and without', async () => {
    await expect
      .poll(async () => (await shell.run('holdfast status')).screen, { timeout: 20_000 })
      .toMatch(/^web-1 +running +closed /m);
    const { screen, code } = await shell.run('holdfast status');
    expect(code).toBe(0);
    expect(screen).toMatch(/^ok {2}http:\/\/127\.0\.0\.1:\d+ {2}replica web-1/);
    expect(screen).toMatch(/^mail +0 +0 +1 +\d+ +\d+$/m);
    expect(shell.screen(true)).toContain('\u001b[32mok');
    await shell.run('NO_COLOR=1 holdfast status');
    expect(shell.screen(true)).not.toContain('\u001b[32m');
  });

  it('enqueue --wait prints the result, and a failed job can be listed, retried and removed', async () => {
    const sent = await shell.run(`holdfast enqueue mail '{"to":"a@b.c"}' --wait`);
    expect(sent.screen).toContain('"sent": "a@b.c"');
    expect(sent.code).toBe(0);
    const failed = await shell.run(`holdfast enqueue mail '{"fail":true}' --wait`);
    expect(failed.code).toBe(1);
    const listed = await shell.run('holdfast failed mail');
    // The reason is cut at the edge of the screen, so that each job is one line.
    expect(listed.screen).toMatch(/ mail +2 +\d+ s ago +no such recipient .*…$/m);
    expect((await shell.run('holdfast retry mail')).code).toBe(2);
    const retried = await shell.run('holdfast retry mail --all');
    expect(retried.screen).toContain('1 failed job of mail waits again.');
    await expect
      .poll(async () => (await shell.run('holdfast failed mail')).screen, { timeout: 20_000 })
      .toMatch(/no such recipient/);
    const question = /Remove 1 failed job of mail for good\? \[y\/N\]/;
    const kept = await shell.run('holdfast empty mail --state failed', [[question, 'n']]);
    expect(kept.screen).toContain('Nothing was removed.');
    const gone = await shell.run('holdfast empty mail --state failed', [[question, 'y']]);
    expect(gone.screen).toContain('1 job of mail is removed.');
    expect((await shell.run('holdfast failed mail')).screen).toContain('No job of mail has failed');
  });

  it('Ctrl-C at a question removes nothing', async () => {
    const queue = new Queue('held', { connection: { url: redis.url } });
    await queue.addBulk(Array.from({ length: 5 }, (_, n) => ({ name: 'x', data: { n } })));
    shell.type('clear; holdfast empty held; echo "code=$?"');
    shell.press('Enter');
    await shell.until(/Remove 5 waiting jobs/);
    shell.press('C-c');
    await shell.until(/^\$$|^code=\d+$/m);
    expect(await queue.getWaitingCount()).toBe(5);
    await queue.close();
  });

  it('empty shows how far it is with a big queue', async () => {
    const queue = new Queue('big', { connection: { url: redis.url } });
    for (let batch = 0; batch < 40; batch += 1) {
      await queue.addBulk(Array.from({ length: 1000 }, () => ({ name: 'x', data: {} })));
    }
    shell.type('clear; holdfast empty big --yes; echo "code=$?"');
    shell.press('Enter');
    await shell.until(/\[?#*·* +\d+ % +[\d,]+ of 40,000 removed/);
    expect(await shell.until(/^code=0$/m)).toContain('40,000 jobs of big are removed.');
    expect(await queue.getWaitingCount()).toBe(0);
    await queue.close();
  });

  it('pause is shown by status, and resume ends it', async () => {
    expect((await shell.run('holdfast pause mail')).screen).toMatch(/mail is paused: 0 jobs wait/);
    expect((await shell.run('holdfast status')).screen).toMatch(/^mail .* paused$/m);
    expect((await shell.run('holdfast resume mail')).screen).toMatch(/mail goes on/);
    const wrong = await shell.run('holdfast pause mial');
    expect(wrong.screen).toMatch(/Did you mean "mail"\?/);
    expect(wrong.code).toBe(2);
  });

  it('isolate keeps the service from Redis, as status says, until release', async () => {
    const isolated = await shell.run("holdfast isolate --reason 'moving house'");
    expect(isolated.code, isolated.screen).toBe(0);
    expect(isolated.screen).toMatch(/^web-1 leaves Redis alone[\s\S]*holdfast release/m);
    const { screen } = await shell.run('holdfast status');
    expect(screen).toMatch(/breaker isolated/);
    const released = await shell.run('holdfast release');
    expect(released).toMatchObject({
      code: 0,
      screen: expect.stringContaining('web-1 connects to Redis again.'),
    });
    await expect
      .poll(async () => (await shell.run('holdfast status')).screen, { timeout: 20_000 })
      .toMatch(/breaker closed/);
  });

  it('schedules, config, journal and outages have something to say', async () => {
    const schedules = await shell.run('holdfast schedules');
    expect(schedules.screen).toMatch(/^mail +holdfast\/nightly +0 3 \* \* \* .* in \d+ /m);
    const config = await shell.run('REDIS_PASSWORD=hush holdfast config --set');
    expect(config.screen).toMatch(/^REDIS_PASSWORD +environment +\*\*\*$/m);
    expect(config.screen).not.toContain('hush');
    expect((await shell.run('holdfast journal status')).code).toBe(0);
    expect((await shell.run('holdfast outages')).code).toBe(0);
  });

  it('a wrong command, and none, say what there is', async () => {
    expect(await shell.run('holdfast stauts')).toMatchObject({
      code: 2,
      screen: expect.stringContaining('status'),
    });
    expect((await shell.run('holdfast --help')).screen).toMatch(/Queues:\n +pause /);
  });
});

describe('without Redis', () => {
  beforeAll(() => redis.kill());

  it('status shows what the service knows, and says what is not known and what to do', async () => {
    await expect
      .poll(async () => (await shell.run('holdfast status')).screen, { timeout: 20_000 })
      .toMatch(/breaker (open|half-open) \(refused\)/);
    const { screen, code, ms } = await shell.run('holdfast status');
    expect(code).toBe(0);
    expect(ms).toBeLessThan(ANSWER_MS);
    expect(screen).toMatch(/^web-1 +degraded +\S+ \(refused\) /m);
    expect(screen).toMatch(/^mail +– .*–$/m);
    expect(screen).toMatch(/! How many jobs wait is not known: Redis is away \(refused\)/);
    expect(screen).toMatch(/! What to do: Check that redis-server runs/);
    const began = (text: string) => /^ {2}breaker .* since (\S+) \(\d+ s\)$/m.exec(text)?.[1];
    expect(began(screen)).toBeDefined();
    expect(began((await shell.run('holdfast status')).screen)).toBe(began(screen));
  });

  it.each([
    'holdfast pause mail',
    'holdfast resume mail',
    'holdfast failed mail',
    'holdfast retry mail --all',
    'holdfast empty mail',
    'holdfast schedules',
  ])('%s says in which condition Redis is and what to do, at once', async (line) => {
    const { screen, code, ms } = await shell.run(line);
    expect(screen).toMatch(/is away \(refused\)[\s\S]*^ {6}Check that redis-server runs/m);
    expect(screen).not.toMatch(/^ +at /m);
    expect(code).toBe(69);
    expect(ms).toBeLessThan(ANSWER_MS);
  });

  it('isolate and release are obeyed', async () => {
    expect((await shell.run('holdfast isolate')).screen).toMatch(/^web-1 leaves Redis alone/m);
    expect((await shell.run('holdfast status')).screen).toMatch(/breaker isolated/);
    expect(await shell.run('holdfast release')).toMatchObject({ code: 0 });
    await expect
      .poll(async () => (await shell.run('holdfast status')).screen, { timeout: 20_000 })
      .toMatch(/breaker (open|half-open) \(refused\)/);
  });

  it('quiet is obeyed by a service that has never seen Redis', async () => {
    const quietEnv = { REPLICA: 'web-9', DATA_DIR: `${env.DATA_DIR}-q`, HTTP_PORT: '0' };
    using lonely = new Terminal({ ...env, ...quietEnv });
    using beside = new Terminal({ ...env, ...quietEnv });
    lonely.type('holdfast start; echo "code=$?"');
    lonely.press('Enter');
    await lonely.until(/Holdfast is running/);
    const { screen, code } = await beside.run('holdfast quiet');
    expect(screen).toMatch(/^web-9 \(process \d+\) takes no more jobs$/m);
    expect(code).toBe(0);
    await lonely.until(/no more jobs are taken/);
    lonely.press('C-c');
    await lonely.until(/^code=0$/m);
  });

  it('enqueue keeps the job in the journal; config, journal and outages work as always', async () => {
    const kept = await shell.run(`holdfast enqueue mail '{"to":"later@b.c"}'`);
    expect(kept.code, kept.screen).toBe(0);
    expect(kept.screen).toMatch(/journal/);
    for (const line of ['config', 'journal status', 'outages']) {
      expect((await shell.run(`holdfast ${line}`)).code).toBe(0);
    }
  });

  it('a burst waits, works when Redis is back, and ends with 0', async () => {
    using burst = new Terminal({
      ...env,
      HTTP: 'false',
      REPLICA: 'burst',
      DATA_DIR: `${env.DATA_DIR}-b`,
    });
    burst.type('holdfast start --burst; echo "code=$?"');
    burst.press('Enter');
    await burst.until(/Redis is away/);
    await redis.restart();
    await burst.until(/^code=0$/m, 30_000);
    // The job that only the journal had is in Redis and done.
    const queue = new Queue('mail', { connection: { url: redis.url } });
    await expect
      .poll(async () => (await queue.getCompleted()).map((job) => job.data.to), { timeout: 20_000 })
      .toContain('later@b.c');
    await queue.close();
  });
});

describe('the end', () => {
  it('quiet is obeyed, and Ctrl-C ends the service with 0', async () => {
    const { screen, code } = await shell.run('holdfast quiet');
    expect(screen).toMatch(/web-1 \(process \d+\) takes no more jobs/);
    expect(code).toBe(0);
    await expect
      .poll(async () => (await shell.run('holdfast status')).screen, { timeout: 20_000 })
      .toMatch(/^web-1 +degraded .*takes no jobs of mail: quiet/m);
    service.press('C-c');
    await service.until(/^code=0$/m);
    expect(await shell.run('holdfast quiet')).toMatchObject({ code: 69 });
  });
});
