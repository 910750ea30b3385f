/**
 * SIGTERM to the service as a process, whatever Redis does: it ends with 0 within its grace and 2 s, and
 * what its handlers finished meanwhile is settled by its next start, without a second run.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Queue } from 'bullmq';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { startProxy, type TcpProxy } from '../support/proxy.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { killServices, ServiceProcess } from '../support/service-process.ts';

const GRACE_MS = 2500;
/** The promise: grace and 2 s. */
const EXIT_MS = GRACE_MS + 2000;
/** Ends after the signal and within the grace; and one that does not, ms. */
const ENDS_MS = 1500;
const STAYS_MS = 60_000;

interface Fault {
  name: string;
  cause(server: RedisServer, proxy: TcpProxy): Promise<void> | void;
  mend(server: RedisServer, proxy: TcpProxy): Promise<void> | void;
}

const faults: Fault[] = [
  { name: 'there', cause() {}, mend() {} },
  { name: 'dead', cause: (server) => server.kill(), mend: (server) => server.restart() },
  { name: 'frozen', cause: (server) => server.freeze(), mend: (server) => server.thaw() },
  {
    name: 'behind half-open sockets',
    cause: (_server, proxy) => proxy.blackHole({ forever: true }),
    mend: (_server, proxy) => proxy.heal(),
  },
];

let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-shutdown-'));
  mkdirSync(join(dir, 'workers'));
  writeFileSync(
    join(dir, 'workers', 'nap.mjs'),
    `import { appendFileSync } from 'node:fs';
     export default { queue: 'nap', concurrency: 5, handler: (job) => {
       appendFileSync(process.env.NAP_RUNS, job.id + '\\n');
       return new Promise((resolve) => setTimeout(() => resolve('slept'), job.data.ms));
     } };`,
  );
});
afterAll(async () => {
  await killServices();
  rmSync(dir, { recursive: true, force: true });
});

describe.concurrent('SIGTERM ends the service in time, and loses no result, when Redis is', () => {
  for (const { name, cause, mend } of faults) {
    it(name, async ({ expect }) => {
      const server = await startRedis({ aof: 'always' });
      const proxy = await startProxy(server.port);
      const runs = join(dir, `runs of ${name}`);
      writeFileSync(runs, '');
      const env = {
        REDIS_URL: proxy.url,
        WORKERS_DIR: join(dir, 'workers'),
        SHUTDOWN_GRACE: `${GRACE_MS}ms`,
        NAP_RUNS: runs,
      };
      const service = new ServiceProcess(env);
      await service.until('service.started');
      const queue = new Queue('nap', { connection: { host: server.host, port: server.port } });
      queue.on('error', () => undefined);
      const ends = await queue.add('nap', { ms: ENDS_MS });
      const stays = await queue.add('nap', { ms: STAYS_MS });
      await expect.poll(() => readFileSync(runs, 'utf8').split('\n').length).toBe(3);
      await cause(server, proxy);
      const before = performance.now();
      expect(await service.stop()).toBe(0);
      expect(performance.now() - before).toBeLessThan(EXIT_MS);

      await mend(server, proxy);
      const next = new ServiceProcess({ ...env, DATA_DIR: service.dataDir });
      await expect
        .poll(async () => (await queue.getJob(ends.id!))?.returnvalue, { timeout: 15_000 })
        .toBe('slept');
      const ran = readFileSync(runs, 'utf8').split('\n');
      expect(ran.filter((id) => id === ends.id)).toHaveLength(1);
      if (name === 'there') {
        expect(service.of('job.returned')).toMatchObject([{ jobId: stays.id }]);
        expect((await queue.getJob(stays.id!))?.attemptsMade).toBe(0);
      }
      next.child.kill('SIGKILL');
      await next.exited;
      await queue.close();
      await proxy.stop();
      await server.stop();
    });
  }
});
