/** What `config/schedules.json` may say, and how its mistakes are told. */
import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/errors.ts';
import { parseSchedules } from '../../src/queue/schedule-file.ts';
import { isOutdated } from '../../src/queue/schedules.ts';

const parse = (value: unknown) =>
  parseSchedules(
    typeof value === 'string' ? value : JSON.stringify(value),
    'config/schedules.json',
    1000,
  );

function problems(value: unknown): Record<string, string> {
  try {
    parse(value);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return Object.fromEntries(error.problems.map(({ where, allowed }) => [where, allowed]));
  }
  return {};
}

describe('config/schedules.json', () => {
  it('is a list, or an object with owner and revision', () => {
    const entry = { id: 'a', queue: 'q', every: 1000 };
    expect(parse([entry])).toMatchObject({
      owner: 'holdfast',
      revision: 0,
      schedules: [{ id: 'a', name: 'a', everyMs: 1000, data: {} }],
    });
    const named = parse({ owner: 'billing', revision: 4, schedules: [entry] });
    expect(named).toMatchObject({ owner: 'billing', revision: 4 });
    expect(named.hash).toBe(parse([entry]).hash);
  });

  it('tells all mistakes at once, each with its place', () => {
    const found = problems([
      { id: 'ok', queue: 'q', cron: '*/5 * * * *', timezone: 'Asia/Tokyo' },
      { id: 'b', queue: 'q', cron: '61 * * * *' },
      { id: 'c', queue: 'q', cron: '* * *' },
      { id: 'd', queue: 'q', cron: '0 4 * * *', timezone: 'Mars/Olympus' },
      { id: 'e', queue: 'q' },
      { id: 'f', queue: 'q', cron: '0 4 * * *', every: 1000 },
      { id: 'g', queue: 'a:b', every: 1 },
      { id: 'h h', queue: 'q', every: 1000, timezone: 'UTC' },
      { id: 'i', queue: 'q', every: 1000, options: { attempts: 0, delay: 1 } },
      { id: 'j', queue: 'q', every: 1000, crom: 'x' },
      7,
    ]);
    const at = (place: string) => found[`config/schedules.json:$${place}`];
    expect(at('[1].cron')).toContain('not a cron expression');
    expect(at('[2].cron')).toContain('five fields');
    expect(at('[3].timezone')).toContain('IANA');
    expect(at('[4].cron')).toContain('is missing');
    expect(at('[5].every')).toContain('beside');
    expect(at('[6].queue')).toContain('":"');
    expect(at('[6].every')).toContain('100');
    expect(at('[7].id')).toContain('letters');
    expect(at('[8].options.attempts')).toBeDefined();
    expect(at('[8].options.delay')).toContain('not a field');
    expect(at('[9].crom')).toContain('not a field');
    expect(at('[10]')).toBeDefined();
    expect(at('[0]')).toBeUndefined();
  });

  it('refuses the same id twice in a queue, data that is too large, and what is not JSON', () => {
    const entry = { id: 'a', queue: 'q', every: 1000 };
    expect(problems([entry, { ...entry, queue: 'r' }])).toEqual({});
    expect(problems([entry, entry])).toHaveProperty(['config/schedules.json:$[1].id']);
    expect(problems([{ ...entry, data: 'x'.repeat(2000) }])).toHaveProperty([
      'config/schedules.json:$[0].data',
    ]);
    expect(Object.values(problems('[{]'))[0]).toContain('not JSON');
    expect(Object.keys(problems({ revision: 0, schedules: [] }))).toEqual([
      'config/schedules.json:$.revision',
    ]);
  });
});

describe('an outdated file', () => {
  it('is one that another followed, or with a lower revision', () => {
    const state = { hashes: ['a', 'b'], revision: 0 };
    expect(isOutdated(state, { hash: 'a', revision: 0 })).toBe(true);
    expect(isOutdated(state, { hash: 'b', revision: 0 })).toBe(false);
    expect(isOutdated(state, { hash: 'new', revision: 0 })).toBe(false);
    expect(isOutdated({ ...state, revision: 2 }, { hash: 'new', revision: 1 })).toBe(true);
    expect(isOutdated(state, { hash: 'a', revision: 1 })).toBe(false);
  });
});
