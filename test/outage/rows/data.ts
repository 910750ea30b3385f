/** Rows 6, 9 and 10: the dataset, and an outage in the middle of coming back. */
import { setTimeout as sleep } from 'node:timers/promises';
import { startProxy } from '../../support/proxy.ts';
import { type AofSnapshot, startRedis } from '../../support/redis-server.ts';
import type { Row } from '../harness/row.ts';
import { until } from '../harness/until.ts';
import type { World } from '../harness/world.ts';

/** Writes of this time are lost, ms. */
const LOST_MS = 2000;
/** Of those in flight, some end within what is lost, some within the outage, some after it, ms. */
const AROUND_THE_LOSS = [700, 1100, 1500, 1900, 3000, 4500, 6000, 9000, 13_000];
/** The worker with jobs in flight comes back later than the idle one, ms. */
const LATER_MS = 150;

const ROLLBACK = {
  expect: { conditions: ['refused'], detectMs: 500, mayLoseNotes: true },
} as const;

/** The server is back without its last 2 s, at the door and for the second worker first. */
async function restartWithout(world: World): Promise<void> {
  const [busy] = world.proxies;
  await busy!.refuse();
  busy!.reset();
  await world.server.restartFrom(world.memory.get('snapshot') as AofSnapshot);
  await sleep(LATER_MS);
  await busy!.heal();
}

async function killAfterSnapshot(world: World): Promise<void> {
  world.memory.set('snapshot', world.server.snapshotAof());
  await sleep(LOST_MS);
  world.faultAt = Date.now();
  await world.server.kill();
}

export const dataRows: readonly Row[] = [
  {
    id: '6.1',
    fault: 'SCRIPT FLUSH',
    outageMs: 500,
    brief: {},
    inFlightMs: [1000, 2000, 3000],
    async cause({ admin }) {
      await admin.script('FLUSH');
    },
    async mend({ stage }) {
      // Those who look from outside are plain BullMQ, whose transactions know of no lost script.
      stage.producer.disconnect(true);
    },
    expect: { opens: 'none' },
  },
  {
    id: '6.2',
    fault: 'FLUSHALL',
    outageMs: 3000,
    inFlightMs: [1000, 2000, 4000, 5000],
    async cause({ admin }) {
      await admin.flushall();
    },
    async mend() {},
    expect: { named: ['data-lost'], mayLose: true },
  },
  {
    id: '9.1',
    fault: 'killed, back without its last 2 s of writes',
    outageMs: 5000,
    brief: { outageMs: 3000 },
    inFlightMs: AROUND_THE_LOSS,
    server: { aof: 'always' },
    cause: killAfterSnapshot,
    mend: restartWithout,
    ...ROLLBACK,
  },
  {
    id: '9.2',
    fault: 'killed, back without its last 2 s, the idle worker first',
    outageMs: 5000,
    inFlightMs: AROUND_THE_LOSS,
    hasIdleWorker: true,
    server: { aof: 'always' },
    cause: killAfterSnapshot,
    mend: restartWithout,
    ...ROLLBACK,
  },
  {
    id: '9.3',
    fault: 'killed, a replica that lagged by 2 s is promoted',
    outageMs: 5000,
    inFlightMs: AROUND_THE_LOSS,
    async cause(world) {
      const link = await startProxy(world.server.port);
      world.atEnd(() => link.stop());
      const replica = await startRedis({ aof: true });
      world.memory.set('replica', replica);
      await replica.command('CONFIG', 'SET', 'repl-diskless-sync-delay', '0');
      await world.server.command('CONFIG', 'SET', 'repl-diskless-sync-delay', '0');
      await replica.command('REPLICAOF', link.host, link.port);
      await until('the replica is in sync', 10_000, async () =>
        String(await replica.command('INFO', 'replication')).includes('master_link_status:up'),
      );
      link.blackHole({ forever: true });
      await killAfterWait(world);
    },
    async mend(world) {
      const replica = world.memory.get('replica') as Awaited<ReturnType<typeof startRedis>>;
      await replica.command('REPLICAOF', 'NO', 'ONE');
      world.stage.moveTo!(replica);
    },
    ...ROLLBACK,
  },
  {
    id: '10.1',
    fault: 'killed, back for 300 ms, killed again',
    outageMs: 8000,
    brief: { outageMs: 2000 },
    cause: ({ server }) => server.kill(),
    async mend({ server }) {
      await server.restart();
      await sleep(300);
      await server.kill();
      await sleep(2000);
      await server.restart();
    },
    expect: { conditions: ['refused'], detectMs: 500 },
  },
  {
    id: '10.2',
    fault: 'killed again within each moment of recovery, 12 times',
    outageMs: 3000,
    inFlightMs: [1000, 2000, 3000, 4000, 6000, 9000, 12_000],
    cause: ({ server }) => server.kill(),
    async mend({ server }) {
      // The two replicas come back within 0 to 250 ms; each kill meets other steps of theirs.
      for (let i = 0; i < 12; i++) {
        await server.restart();
        await sleep(25 * i);
        await server.kill();
        await sleep(100);
      }
      await server.restart();
    },
    expect: { conditions: ['refused'], detectMs: 500 },
  },
  {
    id: '10.3',
    fault: 'connections cut after each request of recovery',
    outageMs: 3000,
    inFlightMs: [1000, 2000, 3000, 4000, 6000, 9000, 12_000],
    cause: cutAll,
    async mend(world) {
      for (let requests = 1; requests <= 16; requests++) await cutAfter(world, requests);
      await Promise.all(world.proxies.map((proxy) => proxy.heal()));
    },
    expect: { conditions: ['refused'], detectMs: 500 },
  },
  {
    id: '10.4',
    fault: 'black-holed for good in the middle of recovery, new sockets pass',
    outageMs: 3000,
    inFlightMs: [1000, 2000, 3000, 4000, 6000, 9000, 12_000],
    cause: cutAll,
    async mend(world) {
      await Promise.all(
        world.proxies.map(async (proxy) => {
          await proxy.heal();
          await until('a recovery begins', 10_000, () =>
            proxy
              .connections()
              .some((connection) => /retake|evalsha/i.test(connection.recentRequests())),
          );
          proxy.blackHole({ new: false, forever: true });
        }),
      );
    },
    expect: { conditions: ['refused'], detectMs: 500, firstJobMs: 4500 },
  },
];

async function killAfterWait(world: World): Promise<void> {
  await sleep(LOST_MS);
  world.faultAt = Date.now();
  await world.server.kill();
}

async function cutAll({ proxies }: World): Promise<void> {
  for (const proxy of proxies) proxy.cut();
}

/** Lets each worker come back until it has sent so many requests, then cuts it off again. */
async function cutAfter(world: World, requests: number): Promise<void> {
  await Promise.all(
    world.proxies.map(async (proxy) => {
      await proxy.heal();
      await until('a worker comes back', 10_000, () =>
        proxy
          .connections()
          .some((connection) => countRequests(connection.recentRequests()) >= requests),
      );
      proxy.cut();
    }),
  );
}

/** Commands of the wire format, counted roughly: each begins with its number of words. */
function countRequests(sent: string): number {
  return sent.match(/(^|\r\n)\*\d+\r\n/g)?.length ?? 0;
}
