/**
 * `npm run demo`: 20 jobs in flight, the redis-server SIGKILLed for 20 s while enqueues go on, Holdfast
 * beside plain BullMQ under the same fault, drawn live and then summed up.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { findRedisServer } from '../src/redis/server-bin.ts';
import { Screen } from './demo-screen.ts';
import { Side } from './demo-side.ts';

const OUTAGE_MS = 20_000;
const CALM_MS = 2000;
const ENQUEUE_EVERY_MS = 250;
const DRAW_EVERY_MS = 250;
/** Plain BullMQ finds stalled jobs in two checks of 30 s; then they run again, ms. */
const WATCH_MS = 100_000;
/** Some end within the outage, some after it, ms. */
const IN_FLIGHT = Array.from({ length: 20 }, (_, i) => 5000 + i * 1200);

const screen = new Screen(process.stdout);
const bin = findRedisServer(process.env.REDIS_SERVER_BIN);
if (bin === undefined) {
  screen.say(
    'No redis-server or valkey-server is at hand. The JavaScript fallback keeps nothing when it dies, so it cannot show this. Install one, or set REDIS_SERVER_BIN.',
  );
  process.exitCode = 1;
} else {
  process.env.REDIS_SERVER_BIN = bin;
  await show();
}

async function show(): Promise<void> {
  screen.say(
    'Two redis-servers, two workers each; 20 jobs in flight; enqueues go on all the time.',
  );
  const sides = await Promise.all([
    Side.start('plain BullMQ', 'plain'),
    Side.start('Holdfast', 'holdfast'),
  ]);
  let phase = 'calm';
  let isOutage = false;
  let outageBegan = 0;
  const drawing = setInterval(() => {
    const away = isOutage ? ` ${((performance.now() - outageBegan) / 1000).toFixed(0)} s` : '';
    screen.draw(
      `${phase}${away}`,
      sides.map((side) => side.view()),
    );
  }, DRAW_EVERY_MS);
  try {
    await Promise.all(sides.map((side) => side.fill(IN_FLIGHT)));
    while (sides.some((side) => side.running < IN_FLIGHT.length)) await sleep(50);
    const enqueuing = setInterval(() => {
      for (const side of sides) side.enqueue();
    }, ENQUEUE_EVERY_MS);
    await sleep(CALM_MS);
    phase = 'SIGKILL: Redis is away';
    isOutage = true;
    outageBegan = performance.now();
    await Promise.all(sides.map((side) => side.kill()));
    await sleep(OUTAGE_MS);
    clearInterval(enqueuing);
    await Promise.all(sides.map((side) => side.restart()));
    isOutage = false;
    phase = 'Redis is back';
    const until = performance.now() + WATCH_MS;
    while (performance.now() < until && !sides.every((side) => side.isDone)) await sleep(250);
  } finally {
    clearInterval(drawing);
    screen.sum(sides.map((side) => side.view()));
    await Promise.all(sides.map((side) => side.stop()));
  }
}
