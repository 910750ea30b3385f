/** Warnings of a real server, told once and over when it is over. */
import { Redis } from 'ioredis';
import { expect, it, onTestFinished } from 'vitest';
import { EarlyWarnings } from '../../src/queue/early-warnings.ts';
import { Generation } from '../../src/queue/generation.ts';
import { systemClock } from '../../src/time.ts';
import { startRedis } from '../support/redis-server.ts';

it('a server that runs full and cannot save is told of once, and so is the end', async () => {
  await using server = await startRedis();
  const client = new Redis(server.url);
  const generation = new Generation(client, 0, systemClock);
  const lines: Record<string, unknown>[] = [];
  const write = (fields: object) => lines.push({ ...fields });
  const warnings = new EarlyWarnings({
    clock: systemClock,
    log: { info: write, warn: write },
    generation: () => generation,
    replicas: () => 1,
    lookEveryMs: 20,
  });
  onTestFinished(() => {
    warnings.stop();
    generation.destroy();
  });
  warnings.start();
  const used = async () =>
    Number(/used_memory:(\d+)/.exec(String(await server.command('INFO', 'memory')))![1]);
  await server.command('CONFIG', 'SET', 'maxmemory', Math.round((await used()) / 0.95));
  const stand = () => warnings.list().map(({ name }) => name);
  await expect.poll(stand).toEqual(['memory-filling']);
  expect(warnings.list()[0]!.evidence).toMatch(/^9\d %|^10\d %/);
  await server.command('CONFIG', 'SET', 'maxmemory', 1024 ** 3);
  await expect.poll(stand).toEqual([]);
  // It comes back within ten minutes: shown, and not told again.
  await server.command('CONFIG', 'SET', 'maxmemory', Math.round((await used()) / 0.95));
  await expect.poll(stand).toEqual(['memory-filling']);
  expect(lines.map(({ event, condition }) => [event, condition])).toEqual([
    ['warning.began', 'memory-filling'],
    ['warning.ended', 'memory-filling'],
  ]);
});
