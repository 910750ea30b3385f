/**
 * The accepting process is killed in the very turn of an acknowledgement, by itself, many times over, with
 * Redis there and with Redis away: whatever was acknowledged is added, once.
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

/** Each is a process of its own, about a second. */
const KILLS = process.env.OUTAGE_FULL === '1' ? 200 : 16;
/** The acknowledgement that is the last: the first of a process and later ones. */
const acknowledgementsOf = (round: number): number => 1 + ((round * 7) % 23);

const SUT = fileURLToPath(new URL('./sut/producer.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'holdfast-kill-'));

afterAll(async () => {
  await stopAllRedis();
  rmSync(folder, { recursive: true, force: true });
});

interface Life {
  acknowledged: string[];
  /** From the last acknowledgement to the kill. */
  ms: number;
}

/** Runs a producer that kills itself with its acknowledgement of that number. */
async function killedWith(count: number, redis: string, prefix: string): Promise<Life> {
  const args = [SUT, redis, folder, prefix, `${count}`];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const said: string[] = [];
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => said.push(line));
  const [[, signal]] = await Promise.all([once(child, 'exit'), once(lines, 'close')]);
  expect(signal).toBe('SIGKILL');
  return { acknowledged: said.slice(0, -1), ms: Number(said.at(-1)) };
}

it(`loses nothing that was acknowledged by ${KILLS} producers that were killed`, {
  timeout: 60_000 + KILLS * 5000,
}, async () => {
  const server = await startRedis({ aof: 'always' });
  const lives: Life[] = [];
  for (let round = 0; round < KILLS; round += 1) {
    // Every other life sees Redis away from its start to its end.
    if (round % 2 === 1) server.freeze();
    lives.push(await killedWith(acknowledgementsOf(round), server.url, `r${round}`));
    if (round % 2 === 1) server.thaw();
  }
  const acknowledged = lives.flatMap((life) => life.acknowledged);
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
  report(lives);
  await queue.close();
  await last.close();
  await server.stop();
});

/** Only told: how quick a machine is decides nothing here. */
function report(lives: readonly Life[]): void {
  const ms = lives.map((life) => life.ms).sort((a, b) => a - b);
  const at = (share: number): string => ms[Math.floor(ms.length * share)]!.toFixed(3);
  process.stdout.write(
    `${ms.length} producers killed; ms from acknowledgement to kill p50 ${at(0.5)} p99 ${at(0.99)} max ${ms.at(-1)!.toFixed(3)}\n`,
  );
}
