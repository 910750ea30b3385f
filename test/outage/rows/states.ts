/** Rows 4 and 5: the server answers, but not with what one wants. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Row } from '../harness/row.ts';
import { until } from '../harness/until.ts';
import { quietRedis, type World } from '../harness/world.ts';

const OUTAGE_MS = 8000;
/** An operator's mistake is probed slowly; seen again within two probes. */
const SLOW_MS = 5500;
/** What needs a resource is probed about once a second. */
const NORMAL_MS = 2500;

async function set({ admin }: World, name: string, value: string | number): Promise<void> {
  await admin.config('SET', name, value);
}

function resetWorkers({ proxies }: World): void {
  for (const proxy of proxies) proxy.reset();
}

const LOAD_MS = 10_000;
const KEYS = 1000;

export const stateRows: readonly Row[] = [
  {
    id: '4.1',
    fault: 'killed, then LOADING',
    outageMs: LOAD_MS,
    // Each key of the base file costs this time, in microseconds, also at the first, empty start.
    server: {
      args: [
        ...['--key-load-delay', `${(LOAD_MS * 1000) / KEYS}`],
        ...['--loading-process-events-interval-bytes', '1024'],
      ],
      readyWithinMs: 60_000,
    },
    async cause(world) {
      await world.admin.call('DEBUG', 'POPULATE', `${KEYS}`, 'ballast', '200');
      await world.admin.bgrewriteaof();
      await until('the base file is written', 10_000, async () =>
        /aof_rewrite_in_progress:0[\s\S]*aof_rewrite_scheduled:0/.test(
          await world.admin.info('persistence'),
        ),
      );
      world.faultAt = Date.now();
      await world.server.start();
    },
    async mend(world) {
      // Queued until the server is ready.
      await world.admin.ping();
    },
    expect: { conditions: ['refused'], named: ['loading'] },
  },
  {
    id: '4.2',
    fault: 'READONLY (REPLICAOF to nowhere, then NO ONE)',
    outageMs: OUTAGE_MS,
    brief: { outageMs: 2000 },
    async cause({ admin }) {
      await admin.replicaof('127.0.0.1', 1);
    },
    async mend({ admin }) {
      await admin.replicaof('NO', 'ONE');
    },
    expect: { conditions: ['read-only'] },
  },
  {
    id: '4.3',
    fault: 'NOREPLICAS (min-replicas-to-write)',
    outageMs: OUTAGE_MS,
    cause: (world) => set(world, 'min-replicas-to-write', 1),
    mend: (world) => set(world, 'min-replicas-to-write', 0),
    expect: { conditions: ['no-replicas'] },
  },
  {
    id: '4.4',
    fault: 'OOM (maxmemory)',
    outageMs: OUTAGE_MS,
    cause: (world) => set(world, 'maxmemory', 1),
    mend: (world) => set(world, 'maxmemory', 0),
    expect: { conditions: ['out-of-memory'], firstJobMs: NORMAL_MS },
  },
  {
    id: '4.5',
    fault: 'MISCONF (failing BGSAVE)',
    outageMs: OUTAGE_MS,
    server: { args: ['--enable-protected-configs', 'local'] },
    async cause(world) {
      // A save ends with a rename, which a folder in its way refuses, root or not.
      mkdirSync(join(world.server.dir, 'in-the-way', 'of'), { recursive: true });
      await set(world, 'dbfilename', 'in-the-way');
      await set(world, 'save', '3600 1');
      // A worker may meet the failed save before it is seen here.
      world.faultAt = Date.now();
      await world.admin.bgsave();
      await until('a save has failed', 5000, async () =>
        (await world.admin.info('persistence')).includes('rdb_last_bgsave_status:err'),
      );
    },
    async mend(world) {
      rmSync(join(world.server.dir, 'in-the-way'), { recursive: true });
      await world.admin.bgsave();
      await until('a save has worked', 5000, async () =>
        (await world.admin.info('persistence')).includes('rdb_last_bgsave_status:ok'),
      );
    },
    expect: { conditions: ['cannot-persist'], firstJobMs: NORMAL_MS },
  },
  {
    id: '4.6',
    fault: 'maxclients reached',
    outageMs: OUTAGE_MS,
    async cause(world) {
      await set(world, 'maxclients', 1);
      resetWorkers(world);
    },
    mend: (world) => set(world, 'maxclients', 1000),
    expect: {
      conditions: ['max-clients'],
      named: ['max-clients'],
      firstJobMs: NORMAL_MS,
    },
  },
  {
    id: '4.7',
    fault: 'BUSY script',
    outageMs: OUTAGE_MS,
    server: { args: ['--busy-reply-threshold', '200'] },
    async cause(world) {
      const runner = quietRedis(world.stage.doorPort);
      world.atEnd(() => runner.disconnect());
      await runner.ping();
      runner.eval('while true do end', 0).catch(() => undefined);
    },
    async mend({ admin }) {
      await admin.script('KILL');
      // The script ends a moment after the answer; until then everybody is still told BUSY.
      await until('the script has ended', 5000, () =>
        admin.ping().then(
          () => true,
          () => false,
        ),
      );
    },
    expect: { conditions: ['busy-script'] },
  },
  {
    id: '5.1',
    fault: 'password set at run time, then removed',
    outageMs: OUTAGE_MS,
    async cause(world) {
      await set(world, 'requirepass', 'new');
      resetWorkers(world);
    },
    mend: (world) => set(world, 'requirepass', ''),
    expect: {
      conditions: ['auth-required'],
      named: ['auth-required'],
      firstJobMs: SLOW_MS,
    },
  },
  {
    id: '5.2',
    fault: 'password rotated, then the password file',
    outageMs: OUTAGE_MS,
    server: { args: ['--requirepass', 'old'] },
    password: 'old',
    passwordFile: 'old',
    async cause(world) {
      await set(world, 'requirepass', 'new');
      resetWorkers(world);
    },
    async mend(world) {
      writeFileSync(world.passwordFile, 'new');
    },
    expect: {
      conditions: ['wrong-password'],
      named: ['wrong-password'],
      firstJobMs: SLOW_MS,
    },
  },
  {
    id: '5.3',
    fault: 'wrong password from the start, then corrected',
    outageMs: OUTAGE_MS,
    server: { args: ['--requirepass', 'right'] },
    password: 'right',
    passwordFile: 'wrong',
    isAbsentAtStart: true,
    async cause() {},
    async mend(world) {
      writeFileSync(world.passwordFile, 'right');
    },
    expect: { opens: 'any', firstJobMs: SLOW_MS },
  },
  {
    id: '5.4',
    fault: 'ACL that loses a permission',
    outageMs: OUTAGE_MS,
    brief: { outageMs: 2000 },
    server: { args: ['--user', 'worker', 'on', '>secret', '~*', '&*', '+@all'] },
    credentials: 'worker:secret',
    async cause({ admin }) {
      await admin.call('ACL', 'SETUSER', 'worker', '-evalsha');
    },
    async mend({ admin }) {
      await admin.call('ACL', 'SETUSER', 'worker', '+evalsha');
    },
    expect: { conditions: ['no-permission'], firstJobMs: SLOW_MS },
  },
];
