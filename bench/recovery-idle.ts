/** What an idle replica asks of Redis beyond what plain BullMQ asks, counted by the server itself. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Row } from '../test/outage/harness/row.ts';
import type { Program } from '../test/outage/harness/worker-process.ts';
import { singleStage, World } from '../test/outage/harness/world.ts';
import type { Measured } from './recovery-report.ts';

/** Connections are made, scripts loaded, and quiet queues share their blocking read by then, ms. */
const SETTLED_MS = 40_000;
const BEYOND_PLAIN_MAX = 2;
const ONE = { work: 10 };
const THREE = { work: 10, parents: 2, ticks: 1 };

export async function idle(seconds: number): Promise<Measured[]> {
  return await Promise.all([
    beyondPlain('one queue', ONE, seconds, BEYOND_PLAIN_MAX),
    beyondPlain('three queues', THREE, seconds, BEYOND_PLAIN_MAX),
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
    return (await sentWithin(world, seconds * 1000)) / seconds;
  } finally {
    await world.stop();
  }
}

/** Commands that clients sent, one by one as the server saw them; what scripts call is not sent. */
async function sentWithin({ admin }: World, ms: number): Promise<number> {
  const monitor = await admin.monitor();
  let calls = 0;
  monitor.on('monitor', (_time: string, _command: string[], source: string) => {
    if (source !== 'lua') calls += 1;
  });
  await sleep(ms);
  monitor.disconnect();
  return calls;
}
