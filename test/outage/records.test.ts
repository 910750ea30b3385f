/** What is on record after an outage: of a fleet that came back, and of a process that did not. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Queue } from 'bullmq';
import { afterEach, expect, it } from 'vitest';
import { startRedis } from '../support/redis-server.ts';
import { killServices, ServiceProcess } from '../support/service-process.ts';

const BIN = fileURLToPath(new URL('../../src/bin.mjs', import.meta.url));
const run = promisify(execFile);

afterEach(killServices);

interface View {
  id: string;
  fate: string;
  fleetId?: string;
  replica: string;
  conditions: { name: string }[];
  counts: Record<string, number>;
  firstJobMs?: number;
}

/** The command, with nothing of the environment but the data folder. */
async function holdfast(dataDir: string, args: string[], env: Record<string, string> = {}) {
  const { stdout } = await run(process.execPath, [BIN, ...args], {
    cwd: dataDir,
    env: { PATH: process.env.PATH ?? '', DATA_DIR: dataDir, ...env },
  });
  return stdout;
}

async function listed(dataDir: string): Promise<View[]> {
  return JSON.parse(await holdfast(dataDir, ['outages', '--json'])).outages as View[];
}

it('replicas agree on one outage, and one post-mortem covers the fleet', async () => {
  await using server = await startRedis({ aof: true });
  const workers = mkdtempSync(join(tmpdir(), 'holdfast-workers-'));
  writeFileSync(
    join(workers, 'nap.ts'),
    `import { defineWorker } from 'holdfast';
     export default defineWorker({ queue: 'nap', handler: (job) =>
       new Promise((resolve) => setTimeout(resolve, job.data.ms)) });`,
  );
  const replicas = ['one', 'two', 'three'].map(
    (REPLICA) => new ServiceProcess({ REDIS_URL: server.url, WORKERS_DIR: workers, REPLICA }),
  );
  await Promise.all(replicas.map((service) => service.until('service.started')));
  const queue = new Queue('nap', { connection: { host: server.host, port: server.port } });
  queue.on('error', () => undefined);
  await queue.addBulk(Array.from({ length: 9 }, () => ({ name: 'nap', data: { ms: 1500 } })));
  await expect.poll(() => queue.getActiveCount()).toBe(9);
  await server.kill();
  await Promise.all(replicas.map((service) => service.until('outage.opened')));
  // One of them dies in the middle of it.
  const [one, two, dead] = replicas as [ServiceProcess, ServiceProcess, ServiceProcess];
  await expect
    .poll(() => readdirSync(join(dead.dataDir, 'outages')).filter((f) => f.endsWith('.json')))
    .toHaveLength(1);
  await dead.stop('SIGKILL');
  const [interrupted] = await listed(dead.dataDir);
  expect(interrupted).toMatchObject({ fate: 'interrupted', replica: 'three' });
  await sleep(2000);
  await server.start();
  const ends = await Promise.all([one, two].map((service) => service.until('outage.closed')));

  const fleetIds = ends.map(({ fleetOutageId }) => fleetOutageId);
  expect(fleetIds[0]).toBe(fleetIds[1]);
  const fleetId = String(fleetIds[0]);
  for (const [i, service] of [one, two].entries()) {
    const [outage] = await listed(service.dataDir);
    expect(outage).toMatchObject({
      id: ends[i]!.outageId,
      fleetId,
      fate: 'ended',
    });
    const counts = Object.keys(outage!.counts);
    expect(outage!.counts).toEqual(
      Object.fromEntries(counts.map((name) => [name, ends[i]![name]])),
    );
    const answer = await fetch(`${service.url}/v1/outages/${outage!.id}`);
    expect(await answer.json()).toMatchObject({
      id: outage!.id,
      fate: 'ended',
      catalogue: expect.any(Array),
    });
    const [file] = readdirSync(join(service.dataDir, 'outages'));
    expect(statSync(join(service.dataDir, 'outages', file!)).mode & 0o777).toBe(0o600);
  }
  const postMortem = () =>
    holdfast(one.dataDir, ['outages', 'show', '--fleet', fleetId.slice(0, 8), '--markdown'], {
      REDIS_URL: server.url,
    });
  // A replica shares its record after it has told the end.
  await expect.poll(postMortem).toContain('| replicas | one, two |');
  expect(await postMortem()).toContain('## Timeline');
  // Without Redis its own record makes one too.
  await server.kill();
  const alone = await holdfast(one.dataDir, [
    'outages',
    'show',
    ends[0]!.outageId as string,
    '--markdown',
  ]);
  expect(alone).toContain('| replicas | one |');
  await queue.close();
}, 60_000);

it('the next process of a replica tells the outage that the former one died in', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'holdfast-data-'));
  const env = {
    REDIS_URL: 'redis://:hunter2@127.0.0.1:1',
    DATA_DIR: dataDir,
    WORKERS_DIR: mkdtempSync(join(tmpdir(), 'holdfast-workers-')),
    REPLICA: 'r',
  };
  const first = new ServiceProcess(env);
  await first.until('outage.opened');
  const files = () => readdirSync(join(dataDir, 'outages')).filter((f) => f.endsWith('.json'));
  await expect.poll(files).toHaveLength(1);
  expect(await listed(dataDir)).toMatchObject([
    { fate: 'open', conditions: [{ name: 'refused' }] },
  ]);
  await first.stop('SIGKILL');
  const second = new ServiceProcess(env);
  await second.until('outage.opened');
  await expect.poll(files).toHaveLength(2);
  expect(await second.stop()).toBe(0);
  const outages = await listed(dataDir);
  expect(outages.map(({ fate }) => fate)).toEqual(['stopped', 'interrupted']);
  for (const file of files()) {
    expect(readFileSync(join(dataDir, 'outages', file), 'utf8')).not.toContain('hunter2');
  }
  const table = await holdfast(dataDir, ['outages']);
  expect(table).toMatch(/\(interrupted\)/);
}, 30_000);
