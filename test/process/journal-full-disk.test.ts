/** A journal whose disk was full when its process ended: the next one opens it, empties it and has room again. */
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import pino from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createClient } from '../../src/create-client.ts';
import { JournalFullError } from '../../src/errors.ts';
import { layout } from '../../src/journal/folder.ts';
import type { Journal, Kept } from '../../src/journal/journal.ts';
import { runCommand } from '../support/command.ts';
import { journalConfig } from '../support/config.ts';
import { startChild } from '../support/journal-child-process.ts';
import { jobNumber } from '../support/journal-entries.ts';
import { journalFolder, type LogLine, logInto, openIn } from '../support/journal-folder.ts';
import { freePort, startRedis } from '../support/redis-server.ts';
import { canMount, fillUp, mountSmall } from '../support/small-disk.ts';

function smallDisk(): string {
  const disk = mountSmall('16m');
  onTestFinished(() => disk.end());
  return disk.dir;
}

/** Leaves a full journal of a replica that was killed; returns the ids of what it acknowledged. */
async function killedWhenFull(dir: string, replica = 'one'): Promise<string[]> {
  const child = startChild(dir, replica, 'fill');
  await child.says(/^done$/);
  await child.kill();
  return child.lines.filter((line) => line.startsWith('job-'));
}

/** Enqueues with Redis away, until the disk is full or so many are kept; returns how many that is. */
async function leaveJobs(
  dir: string,
  port: number,
  name: string,
  sizes: number[],
  countMax = Number.POSITIVE_INFINITY,
): Promise<number> {
  const redis = `redis://127.0.0.1:${port}`;
  const client = await createClient({ redis, journal: dir, name, log: pino({ level: 'silent' }) });
  let count = 0;
  for (const bytes of sizes) {
    try {
      for (; count < countMax; count++) {
        await client.enqueue('mail', 'send', { pad: 'x'.repeat(bytes) });
      }
    } catch (error) {
      expect(error).toBeInstanceOf(JournalFullError);
    }
  }
  await client.close();
  return count;
}

async function allJobs(journal: Journal): Promise<Kept[]> {
  const found: Kept[] = [];
  for await (const entry of journal.jobs()) found.push(entry);
  return found;
}

describe.runIf(canMount)('a journal on a disk that is full at the start', () => {
  it('is opened by the next process, emptied, and has its reserve again', async () => {
    const dir = smallDisk();
    const kept = await killedWhenFull(dir);
    const journal = await openIn(dir);
    expect(journal.stats().trouble).toBe('its disk is full');
    const jobs = await allJobs(journal);
    expect(jobs.map(({ jobId }) => jobId)).toEqual(kept);
    for (const { position } of jobs) await journal.settle([position]);
    expect(journal.stats()).toMatchObject({ entries: 0, bytes: 0 });
    expect(statSync(layout(join(dir, 'one')).reserve).size).toBe(1024 * 1024);
    await journal.append(jobNumber(1));
    expect(journal.stats().trouble).toBeUndefined();
  });

  it('takes nothing into the room that is left for what it has, and says so until there is more', async () => {
    const dir = smallDisk();
    const kept = await killedWhenFull(dir);
    rmSync(layout(join(dir, 'one')).sharedMemory);
    const filler = fillUp(dir);
    const lines: LogLine[] = [];
    const journal = await openIn(dir, { log: logInto(lines) });
    await expect(journal.append(jobNumber(1))).rejects.toThrow(JournalFullError);
    rmSync(filler);
    // By itself: nobody appends where nothing is taken.
    const jobs = await allJobs(journal);
    expect(jobs.map(({ jobId }) => jobId)).toEqual(kept);
    expect(journal.stats().trouble).toBe('its disk is full');
    await journal.settle(jobs.map(({ position }) => position));
    await expect.poll(() => journal.stats().trouble).toBeUndefined();
    await journal.append(jobNumber(1));
    expect((await allJobs(journal)).map(({ jobId }) => jobId)).toEqual(['job-1']);
    const events = lines.map(({ fields }) => fields.event);
    expect(events).toEqual(['journal.refuses', 'journal.accepts']);
  });

  it('is opened after it was closed in order and others took all space', async () => {
    const dir = smallDisk();
    const first = await openIn(dir);
    const positions = [await first.append(jobNumber(1)), await first.append(jobNumber(2))];
    await first.close();
    fillUp(dir);
    const journal = await openIn(dir);
    expect((await allJobs(journal)).map(({ position }) => position)).toEqual(positions);
    await journal.settle(positions);
    expect(journal.stats().entries).toBe(0);
    await journal.close();
    // What was settled is settled on the disk as well.
    expect((await openIn(dir)).stats().entries).toBe(0);
  });

  it('is opened after a kill when others took the last byte too', async () => {
    const dir = smallDisk();
    const kept = await killedWhenFull(dir);
    rmSync(layout(join(dir, 'one')).sharedMemory);
    fillUp(dir);
    const journal = await openIn(dir);
    const jobs = await allJobs(journal);
    expect(jobs.map(({ jobId }) => jobId)).toEqual(kept);
    for (const { position } of jobs) await journal.settle([position]);
    expect(journal.stats().entries).toBe(0);
    expect(readdirSync(join(dir, 'one'))).toContain('reserve');
  });

  it('is replayed by the command line, each where it is', { timeout: 120_000 }, async () => {
    const dir = smallDisk();
    const port = await freePort();
    let kept = await leaveJobs(dir, port, 'first', [100], 3);
    kept += await leaveJobs(dir, port, 'one', [200_000, 20_000, 100]);
    fillUp(dir);
    const redis = await startRedis({ port });
    const config = { ...journalConfig(dir, port), dataDir: await journalFolder() };
    const run = (...args: string[]) => runCommand(['journal', ...args], config);
    expect((await run('status')).stdout).toMatch(
      new RegExp(`first +none +3 [\\s\\S]*one +none +${kept - 3} `),
    );
    const replayed = await run('replay', '--json');
    expect(replayed, replayed.stderr).toMatchObject({
      code: 0,
      stderr: `Written to Redis: ${kept} entries.\n`,
    });
    expect(JSON.parse(replayed.stdout)).toMatchObject({ written: kept, left: 0, refused: 0 });
    expect(await redis.command('LLEN', 'bull:mail:wait')).toBe(kept);
    expect(statSync(layout(join(dir, 'one')).reserve).size).toBe(1024 * 1024);
  });
});
