/**
 * The accepting process is killed right after an acknowledgement, many times over, with Redis there and
 * with Redis away: whatever was acknowledged is added, once.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Queue } from 'bullmq';
import pino from 'pino';
import { afterAll, expect, it } from 'vitest';
import { createClient } from '../../src/create-client.ts';
import { startRedis, stopAllRedis } from '../support/redis-server.ts';
import { until } from './harness/until.ts';

/** The issue asks for 200; each is a process of its own. */
const KILLS = process.env.OUTAGE_FULL === '1' ? 200 : 16;
/** Acknowledgements before the kill: the first ones of a process and later ones. */
const acknowledgementsOf = (round: number): number => 1 + ((round * 7) % 23);

const SUT = fileURLToPath(new URL('./sut/producer.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'holdfast-kill-'));

afterAll(async () => {
  await stopAllRedis();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs a producer until it has said so many ids, kills it at once, and returns all that it said. */
async function killedAfter(count: number, redis: string, prefix: string): Promise<string[]> {
  const child = spawn(process.execPath, [SUT, redis, folder, prefix], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const said: string[] = [];
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (id) => {
    said.push(id);
    if (said.length === count) child.kill('SIGKILL');
  });
  await Promise.all([once(child, 'exit'), once(lines, 'close')]);
  return said;
}

it(`loses nothing that was acknowledged by ${KILLS} producers that were killed`, {
  timeout: 60_000 + KILLS * 5000,
}, async () => {
  const server = await startRedis({ aof: 'always' });
  const acknowledged: string[] = [];
  for (let round = 0; round < KILLS; round += 1) {
    // Every other life sees Redis away from its start to its end.
    if (round % 2 === 1) server.freeze();
    acknowledged.push(...(await killedAfter(acknowledgementsOf(round), server.url, `r${round}`)));
    if (round % 2 === 1) server.thaw();
  }
  const last = await createClient({
    redis: server.url,
    journal: folder,
    log: pino({ level: 'silent' }),
  });
  const queue = new Queue('q', { connection: { url: server.url } });
  await until('all that was acknowledged is in Redis', 30_000, async () => {
    return (await queue.getWaitingCount()) >= acknowledged.length;
  });
  const waiting = (await queue.getWaiting()).map(({ id }) => id!);
  expect(waiting).toHaveLength(new Set(waiting).size);
  expect(waiting).toEqual(expect.arrayContaining(acknowledged));
  expect(acknowledged.length).toBeGreaterThanOrEqual(KILLS);
  await queue.close();
  await last.close();
  await server.stop();
});
