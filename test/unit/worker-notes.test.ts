/** Progress and log lines of a handler: never in its way, the latest kept, the rest bounded. */
import type { Job } from 'bullmq';
import pino from 'pino';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/time.ts';
import { Notes } from '../../src/worker/notes.ts';

function setUp(updateProgress: (value: unknown) => Promise<void>, addLog: () => Promise<number>) {
  const complaints: string[] = [];
  const log = pino({}, { write: (line: string) => void complaints.push(JSON.parse(line).event) });
  // Only the two methods that notes stand in front of; all of a job that they know.
  const job = Object.create({ updateProgress, log: addLog }) as Job;
  return { notes: new Notes(job, () => log, systemClock), complaints };
}

describe('notes', () => {
  it('send the first progress and the latest, not those between', async () => {
    const sent: unknown[] = [];
    const first = Promise.withResolvers<void>();
    const { notes } = setUp(
      (value) => {
        sent.push(value);
        return sent.length === 1 ? first.promise : Promise.resolve();
      },
      async () => 1,
    );
    for (const value of [1, 2, 3, 4]) await notes.progress(value);
    expect(sent).toEqual([1]);
    first.resolve();
    await expect.poll(() => sent).toEqual([1, 4]);
  });

  it('send what is kept back when the run is over, before the first is answered', async () => {
    const sent: unknown[] = [];
    const { notes } = setUp(
      (value) => {
        sent.push(value);
        return new Promise(() => {});
      },
      async () => 1,
    );
    await notes.progress('a');
    await notes.progress('b');
    notes.flush();
    expect(sent).toEqual(['a', 'b']);
  });

  it('neither throw into a handler nor hold it up, and complain once', async () => {
    const { notes, complaints } = setUp(
      () => Promise.reject(new Error('no Redis')),
      () => new Promise(() => {}),
    );
    await notes.progress(1);
    for (let i = 1; i <= 1200; i += 1) expect(await notes.line('x')).toBe(i);
    await notes.progress(2);
    await expect.poll(() => complaints).toEqual(['job.note_lost']);
  });

  it('give BullMQ’s count of lines in calm weather', async () => {
    const { notes } = setUp(
      async () => {},
      async () => 42,
    );
    expect(await notes.line('x')).toBe(42);
  });
});
