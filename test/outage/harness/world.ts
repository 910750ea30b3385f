/**
 * Everything a row runs in: real servers of its own, a proxy for each worker, two worker processes, the
 * ledger and the jobs. Its own connections go past the proxies.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Cluster, Redis } from 'ioredis';
import { startProxy, type TcpProxy } from '../../support/proxy.ts';
import { type RedisServer, startRedis } from '../../support/redis-server.ts';
import { clockHooks } from '../faults/host-clock.ts';
import type { WorkerSettings } from '../sut/settings.ts';
import type { Row } from './row.ts';
import { RunLedger } from './run-ledger.ts';
import { type Program, WorkerProcess } from './worker-process.ts';
import { QUEUES, Workload } from './workload.ts';

/** BullMQ's own times: the full set runs at them, and so does every row that does not say otherwise. */
export const BULLMQ_TIMES = { lockDurationMs: 30_000, stalledIntervalMs: 30_000 } as const;

/** How the parts of a row reach Redis. */
export interface Stage {
  /** The server of a single one; the present master otherwise. */
  servers: RedisServer[];
  proxies: TcpProxy[];
  redisOf(worker: number): WorkerSettings['redis'];
  /** Shared by all who add and look; the stage ends it. */
  producer: Redis | Cluster;
  /** Port behind which the present server is found, past the workers' proxies. */
  doorPort: number;
  prefix: string;
  /** Another server is where the first was. */
  moveTo?(replacement: RedisServer): void;
  stop(): Promise<void>;
}

export type OpenStage = (row: Row, workers: number) => Promise<Stage>;

export class World {
  readonly row: Row;
  readonly program: Program;
  readonly stage: Stage;
  readonly dir: string;
  readonly ledger: RunLedger;
  /** Where workers read their password, in rows that have such a file. */
  readonly passwordFile: string;
  readonly workload: Workload;
  readonly workers: WorkerProcess[] = [];
  /** Every process that ever ran here, also those that died. */
  readonly allWorkers: WorkerProcess[] = [];
  /** What a row's `cause` leaves for its `mend`. */
  readonly memory = new Map<string, unknown>();
  /** When the fault began, ms since the epoch; a `cause` that prepares first sets it anew. */
  faultAt = 0;
  #admin: Redis | undefined;
  readonly #atEnd: (() => unknown)[] = [];

  constructor(row: Row, program: Program, stage: Stage) {
    this.row = row;
    this.program = program;
    this.stage = stage;
    this.dir = mkdtempSync(join(tmpdir(), 'holdfast-outage-'));
    this.passwordFile = join(this.dir, 'password');
    if (row.passwordFile) writeFileSync(this.passwordFile, row.passwordFile, { mode: 0o600 });
    if (row.hosts) writeFileSync(join(this.dir, 'hosts.json'), JSON.stringify(row.hosts));
    this.ledger = new RunLedger(join(this.dir, 'ledger.jsonl'));
    this.workload = new Workload(stage.producer, stage.prefix);
  }

  get server(): RedisServer {
    return this.stage.servers[0]!;
  }

  get proxies(): TcpProxy[] {
    return this.stage.proxies;
  }

  /** A connection past every proxy that was there before the fault. */
  get admin(): Redis {
    this.#admin ??= quietRedis(this.stage.doorPort, this.row.password);
    return this.#admin;
  }

  async startWorkers(count: number): Promise<void> {
    for (let i = 0; i < count; i++) this.startWorker(i);
    await Promise.all(this.workers.map((worker) => worker.started()));
  }

  /** Starts the worker of this position, again with the folder that it had. */
  startWorker(position: number): WorkerProcess {
    const { row, program, stage } = this;
    const clock = row.hasOwnClock ? clockHooks(this.dir) : { imports: [], env: {} };
    const worker = new WorkerProcess({
      program,
      imports: [...(row.imports ?? []), ...clock.imports].map((path) =>
        fileURLToPath(new URL(`../faults/${path}`, import.meta.url)),
      ),
      env: { OUTAGE_HOSTS: join(this.dir, 'hosts.json'), ...clock.env },
      settings: {
        workerId: `worker-${position}`,
        redis: {
          prefix: stage.prefix,
          ...(row.passwordFile ? { passwordFile: this.passwordFile } : {}),
          ...stage.redisOf(position),
        },
        dataDir: join(this.dir, 'data'),
        ledger: this.ledger.path,
        queues: QUEUES,
        ...BULLMQ_TIMES,
        shutdownGraceMs: 5000,
        onLeaseLost: 'continue',
        ...row.worker,
      },
    });
    this.workers[position] = worker;
    this.allWorkers.push(worker);
    return worker;
  }

  /** Something that a row started besides, to be ended with it. */
  atEnd(stop: () => unknown): void {
    this.#atEnd.push(stop);
  }

  async stop(): Promise<void> {
    for (const stop of this.#atEnd) await stop();
    await Promise.all(this.allWorkers.map((worker) => worker.kill()));
    this.#admin?.disconnect();
    await this.workload.close();
    await this.stage.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A connection that survives anything without a word. */
export function quietRedis(port: number, password?: string): Redis {
  const client = new Redis({
    host: '127.0.0.1',
    port,
    ...(password === undefined ? {} : { password }),
    retryStrategy: () => 50,
    maxRetriesPerRequest: null,
  });
  client.on('error', () => undefined);
  return client;
}

/** One server, and in front of it one proxy for each worker and one for everybody else. */
export const singleStage: OpenStage = async (row, workers) => {
  const server = await startRedis({ aof: true, ...row.server });
  const proxies: TcpProxy[] = [];
  for (let i = 0; i < workers; i++) proxies.push(await startProxy(server.port));
  const door = await startProxy(server.port);
  const { host = '127.0.0.1', credentials, password } = row;
  const producer = quietRedis(door.port, password);
  const servers = [server];
  return {
    servers,
    proxies,
    redisOf: (worker) => ({
      url: `redis://${credentials ? `${credentials}@` : ''}${host}:${proxies[worker]!.port}`,
    }),
    doorPort: door.port,
    producer,
    prefix: 'bull',
    moveTo(replacement) {
      servers.unshift(replacement);
      for (const proxy of [...proxies, door]) {
        proxy.targetPort = replacement.port;
        proxy.reset();
      }
    },
    async stop() {
      producer.disconnect();
      await Promise.all([...proxies, door].map((proxy) => proxy.stop()));
      await Promise.all(servers.map((one) => one.stop()));
    },
  };
};
