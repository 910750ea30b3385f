/** Every fault that has a word of its own: how it is caused, and what may be said of it. */
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { expect, onTestFinished } from 'vitest';
import type { ConditionName } from '../../../src/redis/condition-catalogue.ts';
import { type RedisServer, startRedis } from '../../support/redis-server.ts';
import type { TestTarget } from '../../support/target.ts';
import { listenInVain } from './full-listener.ts';
import {
  clusterPlace,
  namedPlace,
  type OpenPlace,
  type Place,
  plainPlace,
  resolveTo,
  showCertificate,
  tlsPlace,
  userPlace,
} from './place.ts';

/** The queue that a worker waits for. */
export const WORKED_QUEUE = 'named';

export interface Fault {
  what: string;
  name: ConditionName;
  /** Words that are true before or after: a server that was killed refuses before it loads its data. */
  also?: readonly ConditionName[];
  /** Texts of errors that tell it from others of the same word. */
  evidence?: RegExp;
  place?: OpenPlace;
  /** It is there when the worker starts. */
  isFromStart?: true;
  /** What recovery finds out: told in the line at the end. */
  isToldAtEnd?: true;
  /** More time than usual until the word, ms; why stands beside it. */
  moreMs?: number;
  cause(place: Place, target?: TestTarget): unknown;
}

export const FAULTS: readonly Fault[] = [
  // The way to Redis ---------------------------------------------------------------------------------
  { what: 'server killed', name: 'refused', cause: ({ server }) => server.kill() },
  {
    what: 'connections reset, new ones refused',
    name: 'refused',
    async cause({ proxy }) {
      proxy.cut();
    },
  },
  {
    what: 'the name resolves no more',
    name: 'dns',
    place: namedPlace,
    cause({ proxy }) {
      resolveTo(undefined);
      proxy.reset();
    },
  },
  {
    what: 'a name that does not exist, from the start',
    name: 'dns',
    isFromStart: true,
    cause: (place) => {
      place.redis = { url: 'redis://redis.invalid:6379' };
    },
  },
  {
    what: 'established connections dead, new ones dropped',
    name: 'timeout',
    async cause({ proxy }) {
      await proxy.refuse();
      await listenInVain(proxy.port);
      proxy.blackHole({ existing: true, new: false, forever: true });
      return performance.now();
    },
  },
  {
    what: 'new connections dropped, from the start',
    name: 'timeout',
    isFromStart: true,
    async cause({ proxy }) {
      await proxy.refuse();
      await listenInVain(proxy.port);
    },
  },
  {
    what: 'established connections dead, new ones pass',
    name: 'half-open',
    cause: ({ proxy }) => proxy.blackHole({ existing: true, new: false, forever: true }),
  },
  // What is at the other end -------------------------------------------------------------------------
  { what: 'server stopped (SIGSTOP)', name: 'frozen', cause: ({ server }) => server.freeze() },
  {
    what: 'server stopped (SIGSTOP), from the start',
    name: 'frozen',
    isFromStart: true,
    cause: ({ server }) => server.freeze(),
  },
  {
    what: 'requests arrive, replies vanish',
    name: 'frozen',
    cause: ({ proxy }) => proxy.dropReplies(),
  },
  {
    what: 'each answer comes 2.5 s late',
    name: 'slow',
    // Silent for longer than PULSE_TIMEOUT; only its answer tells that it is not.
    also: ['frozen'],
    // The second connection asks a second after the first, which is silent for 700 ms before.
    moreMs: 1500,
    cause: ({ proxy }) => proxy.latency(2500),
  },
  {
    what: 'a port that speaks HTTP, from the start',
    name: 'not-redis',
    isFromStart: true,
    async cause(place) {
      const other = createServer((_request, response) => response.end());
      await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
      onTestFinished(() => void other.close());
      const { port } = other.address() as { port: number };
      place.redis = { url: `redis://127.0.0.1:${port}` };
    },
  },
  {
    what: 'TLS spoken to a plain port, from the start',
    name: 'tls',
    isFromStart: true,
    cause: (place) => {
      place.redis = { url: place.proxy.url.replace('redis:', 'rediss:') };
    },
  },
  {
    what: 'TLS spoken to a TLS port whose server is stopped (SIGSTOP), from the start',
    name: 'frozen',
    isFromStart: true,
    place: tlsPlace,
    cause: ({ server }) => server.freeze(),
  },
  {
    what: 'plain Redis spoken to a TLS port, from the start',
    name: 'tls',
    isFromStart: true,
    place: tlsPlace,
    cause: (place) => {
      place.redis = { url: place.proxy.url };
    },
  },
  {
    what: 'the certificate has expired',
    name: 'tls',
    evidence: /expired/,
    place: tlsPlace,
    cause: (place) => showCertificate(place, 'expired'),
  },
  {
    what: 'the certificate is for another name',
    name: 'tls',
    evidence: /does not match certificate/,
    place: tlsPlace,
    cause: (place) => showCertificate(place, 'elsewhere'),
  },
  {
    what: 'the certificate is of an unknown authority',
    name: 'tls',
    evidence: /self-signed certificate/,
    place: tlsPlace,
    cause: (place) => showCertificate(place, 'stranger'),
  },
  // Who may come in ----------------------------------------------------------------------------------
  {
    what: 'clients at their limit',
    name: 'max-clients',
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
    async cause({ server, proxy }) {
      await server.command('CONFIG', 'SET', 'requirepass', 'secret');
      proxy.reset();
    },
  },
  {
    what: 'the password was changed',
    name: 'wrong-password',
    place: userPlace,
    async cause({ server, proxy }) {
      await server.command('ACL', 'SETUSER', 'app', 'resetpass', '>new');
      proxy.reset();
    },
  },
  {
    what: 'the user loses a permission',
    name: 'no-permission',
    cause: ({ server }) =>
      server.command('ACL', 'SETUSER', 'default', '-evalsha', '-time', '-info'),
  },
  {
    what: 'isolated by hand',
    name: 'isolated',
    cause: (_place, target) => target!.isolate(),
  },
  // What the server can do now -----------------------------------------------------------------------
  {
    what: 'started again, and loading',
    name: 'loading',
    also: ['refused'],
    // 1 ms for each key.
    place: plainPlace({
      args: ['--key-load-delay', '1000', '--loading-process-events-interval-bytes', '1024'],
    }),
    async cause({ server }) {
      await server.command('DEBUG', 'POPULATE', 6000);
      await server.command('SAVE');
      await server.kill();
      const killedAt = performance.now();
      await server.start();
      return killedAt;
    },
  },
  {
    what: 'demoted to a replica',
    name: 'read-only',
    cause: ({ server }) => server.command('REPLICAOF', '127.0.0.1', 1),
  },
  {
    what: 'a replica that has lost its master and may not serve without',
    name: 'master-down',
    place: plainPlace({ args: ['--replica-serve-stale-data', 'no', '--replica-read-only', 'no'] }),
    cause: ({ server }) => server.command('REPLICAOF', '127.0.0.1', 1),
  },
  {
    what: 'a slot of the Cluster that nobody serves',
    name: 'cluster-down',
    place: clusterPlace,
    async cause({ server, prefix }) {
      const slot = Number(await server.command('CLUSTER', 'KEYSLOT', prefix ?? ''));
      await server.command('CLUSTER', 'DELSLOTS', slot);
    },
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
    place: plainPlace({ args: ['--busy-reply-threshold', '20'] }),
    cause: ({ server }) => {
      server.command('EVAL', 'while true do end', 0).catch(() => undefined);
    },
  },
  // What became of it --------------------------------------------------------------------------------
  {
    what: 'killed, and started again with its data',
    name: 'server-restarted',
    also: ['refused', 'loading'],
    isToldAtEnd: true,
    place: plainPlace({ aof: 'always' }),
    async cause({ server }) {
      await server.kill();
      await server.restart();
    },
  },
  {
    what: 'killed, and its replica promoted in its place',
    name: 'failed-over',
    also: ['refused'],
    isToldAtEnd: true,
    place: replicatedPlace,
    async cause(place) {
      const { server, proxy } = place;
      const replica = replicas.get(server)!;
      await server.kill();
      await replica.command('REPLICAOF', 'NO', 'ONE');
      proxy.targetPort = replica.port;
    },
  },
  {
    what: 'killed, and started again without its last moment, in which a job had ended',
    name: 'data-rolled-back',
    also: ['refused', 'loading', 'server-restarted'],
    isToldAtEnd: true,
    place: plainPlace({ aof: 'always' }),
    async cause({ server }) {
      const queue = new Queue(WORKED_QUEUE, { connection: { port: server.port } });
      queue.on('error', () => undefined);
      onTestFinished(() => queue.close());
      const { id = '' } = await queue.add('nap', { ms: 500 });
      await expect.poll(() => queue.getActiveCount(), { interval: 20 }).toBe(1);
      const snapshot = server.snapshotAof();
      await expect.poll(() => queue.getJobState(id), { interval: 20 }).toBe('completed');
      await server.restartFrom(snapshot);
      return performance.now();
    },
  },
  {
    what: 'FLUSHALL',
    name: 'data-lost',
    cause: ({ server }) => server.command('FLUSHALL'),
  },
  {
    what: 'killed, and started again with nothing',
    name: 'data-lost',
    also: ['refused', 'server-restarted'],
    isToldAtEnd: true,
    async cause({ server }) {
      await server.kill();
      await server.restart();
    },
  },
];

const replicas = new WeakMap<RedisServer, RedisServer>();

async function replicatedPlace(): Promise<Place> {
  const place = await plainPlace()();
  const replica = await startRedis();
  await replica.command('REPLICAOF', place.server.host, place.server.port);
  replicas.set(place.server, replica);
  // What the worker writes from now on reaches both.
  const isInSync = async () => String(await replica.command('INFO', 'replication'));
  await expect.poll(isInSync).toContain('master_link_status:up');
  return place;
}
