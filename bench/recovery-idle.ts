/** What an idle replica asks of Redis beyond what plain BullMQ asks, counted by the server itself. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Row } from '../test/outage/harness/row.ts';
import type { Program } from '../test/outage/harness/worker-process.ts';
import { singleStage, World } from '../test/outage/harness/world.ts';
import type { Measured } from './recovery-report.ts';

/** Connections are made and scripts loaded by then, ms. */
const SETTLED_MS = 4000;
const BEYOND_PLAIN_MAX = 2;
/** Sent by clients, not by scripts. */
const SENT = ['time', 'evalsha', 'eval', 'bzpopmin', 'exists', 'ping', 'info', 'client|setname'];

const ONE = { work: 10 };
const THREE = { work: 10, parents: 2, ticks: 1 };

export async function idle(seconds: number): Promise<Measured[]> {
  return await Promise.all([
    beyondPlain('one queue', ONE, seconds, BEYOND_PLAIN_MAX),
    // Told, not promised: each queue has blocking reads and a heartbeat of its own.
    beyondPlain('three queues', THREE, seconds, Number.POSITIVE_INFINITY),
  ]);
}

async function beyondPlain(
  name: string,
  queues: Record<string, number>,
  seconds: number,
  bound: number,
): Promise<Measured> {
  const [ours, plain] = await Promise.all([
    idleRate('holdfast', queues, seconds),
    idleRate('plain', queues, seconds),
  ]);
  return {
    what: `idle replica of ${name}: commands/s beyond plain BullMQ`,
    value: Math.round((ours - plain) * 100) / 100,
    bound,
    unit: 'commands/s',
    of: `${ours.toFixed(2)} and ${plain.toFixed(2)} over ${seconds} s`,
  };
}

async function idleRate(
  program: Program,
  queues: Record<string, number>,
  seconds: number,
): Promise<number> {
  const row: Row = {
    id: '0',
    fault: '',
    outageMs: 0,
    worker: { queues },
    cause: async () => {},
    mend: async () => {},
  };
  const world = new World(row, program, await singleStage(row, 1));
  try {
    await world.startWorkers(1);
    await sleep(SETTLED_MS);
    const before = await sent(world);
    await sleep(seconds * 1000);
    return ((await sent(world)) - before) / seconds;
  } finally {
    await world.stop();
  }
}

async function sent({ admin }: World): Promise<number> {
  const stats = await admin.info('commandstats');
  let calls = 0;
  for (const [, name, count] of stats.matchAll(/cmdstat_([a-z|]+):calls=(\d+)/g)) {
    if (SENT.includes(name!)) calls += Number(count);
  }
  return calls;
}
