/**
 * Which fault is given which word, and how soon: each fault against a real server, with a worker that
 * waits for jobs. No other word may be said while the fault lasts. With CONDITIONS_RECORD=1 the table
 * goes to docs/conditions-matrix.md.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'bullmq';
import { Redis } from 'ioredis';
import pino from 'pino';
import { afterAll, describe, expect, it } from 'vitest';
import { type ConditionName, conditions } from '../../src/redis/condition-catalogue.ts';
import { systemClock } from '../../src/time.ts';
import { startProxy, type TcpProxy } from '../support/proxy.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startTarget } from '../support/target.ts';

/**
 * From the fault itself: a quiet connection is asked each 800 ms and answers within 2 s, and a worker
 * that waits for jobs writes each 2.4 s at the latest.
 */
const NAMED_WITHIN_MS = 3000;
/** The fault lasts so long after it was named, for a second word to be said. */
const WATCHED_MS = 1500;

interface Place {
  server: RedisServer;
  proxy: TcpProxy;
}

interface Fault {
  what: string;
  name: ConditionName;
  /** Words that are true as well: how the end of a connection looks before the reason is known. */
  also?: readonly ConditionName[];
  args?: readonly string[];
  cause(place: Place): unknown;
}

const FAULTS: readonly Fault[] = [
  { what: 'server killed', name: 'refused', cause: ({ server }) => server.kill() },
  {
    what: 'connections reset, new ones refused',
    name: 'refused',
    async cause({ proxy }) {
      await proxy.refuse();
      proxy.reset();
    },
  },
  { what: 'server stopped (SIGSTOP)', name: 'frozen', cause: ({ server }) => server.freeze() },
  {
    what: 'requests arrive, replies vanish',
    name: 'frozen',
    cause: ({ proxy }) => proxy.dropReplies(),
  },
  {
    what: 'established connections dead, new ones pass',
    name: 'half-open',
    cause: ({ proxy }) => proxy.blackHole({ existing: true, new: false, forever: true }),
  },
  {
    what: 'demoted to a replica',
    name: 'read-only',
    also: ['refused', 'failed-over', 'master-down'],
    cause: ({ server }) => server.command('REPLICAOF', '127.0.0.1', 1),
  },
  {
    what: 'too few replicas',
    name: 'no-replicas',
    cause: ({ server }) => server.command('CONFIG', 'SET', 'min-replicas-to-write', 1),
  },
  {
    what: 'memory full',
    name: 'out-of-memory',
    cause: ({ server }) => server.command('CONFIG', 'SET', 'maxmemory', 1),
  },
  {
    what: 'snapshots fail',
    name: 'cannot-persist',
    async cause({ server }) {
      mkdirSync(join(server.dir, 'dump.rdb'));
      await server.command('CONFIG', 'SET', 'save', '1 1');
      await server.command('BGSAVE');
    },
  },
  {
    what: 'a script that does not end',
    name: 'busy-script',
    args: ['--busy-reply-threshold', '20'],
    cause: ({ server }) => {
      server.command('EVAL', 'while true do end', 0).catch(() => undefined);
    },
  },
  {
    what: 'clients at their limit',
    name: 'max-clients',
    also: ['refused'],
    async cause({ server, proxy }) {
      // Somebody else has the last place.
      const other = new Redis(server.url, { lazyConnect: true });
      other.on('error', () => undefined);
      await other.connect();
      await other.config('SET', 'maxclients', 1);
      proxy.reset();
    },
  },
  {
    what: 'a password is wanted',
    name: 'auth-required',
    also: ['refused'],
    async cause(place) {
      await place.server.command('CONFIG', 'SET', 'requirepass', 'secret');
      place.proxy.reset();
    },
  },
  {
    what: 'the user loses a permission',
    name: 'no-permission',
    cause: ({ server }) =>
      server.command('ACL', 'SETUSER', 'default', '-evalsha', '-time', '-info'),
  },
];

interface Row {
  what: string;
  name: string;
  ms: number;
  said: string[];
}
const rows: Row[] = [];

async function watch(fault: Fault): Promise<Row> {
  await using server = await startRedis({ args: fault.args ?? [] });
  const proxy = await startProxy(server.port);
  const lines: { event: string; at: number; condition?: string; msg: string }[] = [];
  const write = (line: string) => lines.push({ ...JSON.parse(line), at: performance.now() });
  const target = await startTarget(proxy.url, { log: pino({ level: 'info' }, { write }) });
  const said: { name: string; at: number }[] = [];
  target.onChange(({ condition }) => {
    if (condition && said.at(-1)?.name !== condition) {
      said.push({ name: condition, at: performance.now() });
    }
  });
  const worker = new Worker(
    'named',
    async () => 'done',
    { connection: target.connection },
    target.backendFactory,
  );
  worker.on('error', () => undefined);
  await expect.poll(() => target.state().breaker).toBe('closed');
  // The worker waits in its blocking read.
  await expect.poll(() => server.command('CLIENT', 'LIST')).toMatch(/cmd=bzpopmin/);
  await sleep(300);
  said.length = 0;
  const at = performance.now();
  await fault.cause({ server, proxy });
  await expect
    .poll(() => said.some(({ name }) => name === fault.name), { timeout: 10_000, interval: 20 })
    .toBe(true)
    .catch(() => undefined);
  await sleep(WATCHED_MS);
  const found = said.find(({ name }) => name === fault.name);
  const opened = lines.find(({ event }) => event === 'outage.opened');
  const remedies = said.map(({ name }) => conditions[name as ConditionName].remedy);
  expect(remedies.some((remedy) => opened?.msg.includes(remedy))).toBe(true);
  if (fault.name === 'frozen') server.thaw();
  await Promise.all([worker.close(true), target.stop(systemClock.now() + 500)]);
  await proxy.stop();
  const ms = found ? Math.round(found.at - at) : Number.NaN;
  return { what: fault.what, name: fault.name, ms, said: [...new Set(said.map((s) => s.name))] };
}

describe('a fault is given its own word and no other', () => {
  for (const fault of FAULTS) {
    it(`${fault.what}: ${fault.name}`, async () => {
      const row = await watch(fault);
      rows.push(row);
      const allowed: readonly string[] = [fault.name, ...(fault.also ?? [])];
      expect(row.said.filter((name) => !allowed.includes(name))).toEqual([]);
      expect(row.said).toContain(fault.name);
      expect(row.ms).toBeLessThan(NAMED_WITHIN_MS);
    });
  }
});

afterAll(() => {
  if (process.env.CONDITIONS_RECORD !== '1') return;
  const table = rows.map(
    ({ what, name, ms, said }) =>
      `| ${what} | [\`${name}\`](conditions.md#${name}) | ${ms} | ${said.map((s) => `\`${s}\``).join(' ')} | ${conditions[name as ConditionName].remedy} |`,
  );
  writeFileSync(
    'docs/conditions-matrix.md',
    [
      '# Faults and the words for them',
      '',
      'What `CONDITIONS_RECORD=1 npx vitest run --project outage test/outage/conditions-table.test.ts` saw',
      `on ${new Date().toISOString().slice(0, 10)}: real servers, a worker that waits for jobs, ms from the fault itself to its word. "said" is every`,
      'word from the fault until 1.5 s after; another than these is a failure of the test. Faults that only writes',
      'meet (`no-replicas`, `out-of-memory`, `cannot-persist`) wait for the next one: a worker without jobs',
      'writes a sign of life each 2.4 s at the latest.',
      '',
      '| fault | condition | ms | said | remedy |',
      '|---|---|---:|---|---|',
      ...table,
      '',
    ].join('\n'),
  );
});
