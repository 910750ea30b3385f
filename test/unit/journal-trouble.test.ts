/** A disk that takes nothing is told once, tried again, and told once when it takes entries again. */
import { expect, it } from 'vitest';
import { JournalError, JournalFullError } from '../../src/errors.ts';
import { keepingOf } from '../../src/http/health.ts';
import { Trouble } from '../../src/journal/trouble.ts';
import { type LogLine, logInto } from '../support/journal-folder.ts';

const failure = new JournalError('/data/one', 'failed: disk I/O error', 'Look at the disk.');
const full = new JournalFullError('/data/one', 'no space left on the disk');

/** Timers that fire when the test says so. */
function troubleOf(probe: () => Promise<void>) {
  const lines: LogLine[] = [];
  const timers = new Set<() => void>();
  const clock = {
    now: () => 0,
    wall: () => 0,
    after: (_: number, fire: () => void) => {
      timers.add(fire);
      return () => timers.delete(fire);
    },
  };
  const trouble = new Trouble({ path: '/data/one', clock, log: logInto(lines), probe });
  const tick = async () => {
    const due = [...timers];
    timers.clear();
    for (const fire of due) fire();
    await Promise.resolve();
    await Promise.resolve();
  };
  return { trouble, lines, timers, tick };
}

it('says once that nothing is taken, however often it is tried, and once that it is again', async () => {
  let error: Error | undefined = failure;
  const { trouble, lines, timers, tick } = troubleOf(() =>
    error === undefined ? Promise.resolve() : Promise.reject(error),
  );
  trouble.worked();
  expect(trouble.text).toBeUndefined();
  for (let n = 0; n < 50; n += 1) trouble.failed(failure);
  await tick();
  await tick();
  expect(trouble.text).toBe('its disk fails');
  expect(timers.size).toBe(1);
  error = undefined;
  await tick();
  expect(trouble.text).toBeUndefined();
  expect(timers.size).toBe(0);
  expect(lines.map(({ level }) => level)).toEqual(['error', 'warn']);
});

it('is tried no more once the journal is closed, also when a try was under way then', async () => {
  const { promise, reject } = Promise.withResolvers<void>();
  const { trouble, timers, tick } = troubleOf(() => promise);
  trouble.failed(failure);
  await tick();
  trouble.stop();
  reject(failure);
  await tick();
  expect(timers.size).toBe(0);
});

it('tells a full disk from one that fails, and asks for no new entry to know that it has room again', () => {
  const { trouble, timers } = troubleOf(() => Promise.resolve());
  trouble.failed(full);
  expect(trouble.text).toBe('its disk is full');
  trouble.worked();
  expect(timers.size).toBe(0);
});

it('makes a replica say that it cannot keep jobs', () => {
  const empty = { entries: 0, outcomes: 0, jobs: 0, refused: 0, bytes: 0 };
  const bounds = { entriesMax: 10, bytesMax: 10, oldestAt: undefined, commitMs: undefined };
  expect(keepingOf({ ...empty, ...bounds, trouble: undefined })).toEqual({ canKeep: true });
  expect(keepingOf({ ...empty, ...bounds, trouble: 'its disk fails' })).toEqual({
    canKeep: false,
    reason: 'the journal takes nothing: its disk fails',
  });
});
