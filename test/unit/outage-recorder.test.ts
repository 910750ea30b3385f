/** How an outage is told: few lines, the truth at the end, and a record that stays small. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  FIRST_SUMMARY_MS,
  LINES_PER_MINUTE_MAX,
  LineAllowance,
  nextSummaryMs,
  SUMMARY_EVERY_MS,
} from '../../src/outage/lines.ts';
import { noteCondition, noteEvidence, openRecord } from '../../src/outage/record.ts';
import { FIRST_JOB_WAIT_MS, OutageRecorder } from '../../src/outage/recorder.ts';
import { VirtualClock } from '../simulation/virtual-clock.ts';

interface Line {
  at: number;
  event: string;
  level: string;
  message: string;
  fields: Record<string, unknown>;
}

function rig(): { clock: VirtualClock; lines: Line[]; recorder: OutageRecorder } {
  const clock = new VirtualClock();
  const lines: Line[] = [];
  const write = (level: string) => (fields: object, message: string) => {
    const { event } = fields as { event: string };
    lines.push({ at: clock.now(), level, event, message, fields: { ...fields } });
  };
  const recorder = new OutageRecorder({
    clock,
    log: { info: write('info'), warn: write('warn'), error: write('error') },
    describe: (condition) => ({
      cause: 'network',
      meaning: condition === 'refused' ? 'nothing listens' : condition,
      remedy: condition === 'refused' ? 'Start it.' : `Mend ${condition}.`,
      docs: `docs/conditions.md#${condition}`,
      ...(condition === 'disconnected' ? { isProvisional: true } : {}),
    }),
    keep: 3,
  });
  return { clock, lines, recorder };
}

function busiestMinute(lines: readonly Line[]): number {
  return Math.max(
    0,
    ...lines.map(({ at }) => lines.filter((l) => l.at >= at && l.at < at + 60_000).length),
  );
}

describe('an outage is told', () => {
  it('at its start with the remedy and at its end with its account', async () => {
    const { clock, lines, recorder } = rig();
    const { id } = recorder.opened('refused', 7);
    recorder.saw('refused', 'connect ECONNREFUSED');
    recorder.saw('loading', 'LOADING Redis is loading');
    recorder.count('journaled', 2);
    await clock.pass(8000);
    recorder.closed('restarted', { replayed: 2, locksRetaken: 5 });
    await clock.pass(30);
    recorder.firstJob();
    expect(lines.map(({ event, level }) => [event, level])).toEqual([
      ['outage.opened', 'error'],
      ['outage.cause', 'error'],
      ['outage.closed', 'info'],
    ]);
    expect(lines[0]!.message).toContain('Start it.');
    expect(lines[1]!.message).toContain('Mend loading.');
    expect(lines[2]!.fields).toMatchObject({
      outageId: id,
      condition: 'loading',
      conditions: ['refused', 'loading'],
      identity: 'restarted',
      durationMs: 8000,
      held: 7,
      journaled: 2,
      replayed: 2,
      locksRetaken: 5,
      detectMs: 0,
      firstJobMs: 30,
    });
    expect(clock.pending).toBe(0);
  });

  it('at its end without a first job when none begins, and before the next one begins', async () => {
    const { clock, lines, recorder } = rig();
    recorder.opened('frozen', 0, 2345.6);
    recorder.closed('same', {});
    await clock.pass(FIRST_JOB_WAIT_MS);
    expect(lines[1]!.fields).toMatchObject({ event: 'outage.closed', detectMs: 2346 });
    expect(lines[1]!.fields).not.toHaveProperty('firstJobMs');
    recorder.firstJob();
    recorder.opened('refused', 0);
    recorder.closed('same', {});
    recorder.opened('refused', 0);
    recorder.closed('same', {});
    recorder.stop();
    expect(lines.map(({ event }) => event.slice('outage.'.length))).toEqual([
      ...['opened', 'closed', 'opened', 'closed', 'opened', 'closed'],
    ]);
    expect(clock.pending).toBe(0);
  });

  it('again after 30 s and then each minute', async () => {
    const { clock, lines, recorder } = rig();
    recorder.opened('frozen', 0);
    await clock.pass(4 * 60_000);
    expect(lines.slice(1).map(({ at }) => at)).toEqual([30_000, 90_000, 150_000, 210_000]);
    expect(new Set(lines.slice(1).map(({ event }) => event))).toEqual(new Set(['outage.summary']));
    recorder.stop();
    expect(clock.pending).toBe(0);
  });

  it('within the bound when Redis flaps, and the last line says how it is', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(20_000), fc.nat(20_000)), { minLength: 1, maxLength: 40 }),
        fc.boolean(),
        async (flaps, endsClosed) => {
          const { clock, lines, recorder } = rig();
          for (const [awayMs, backMs] of flaps) {
            recorder.opened('refused', 0);
            await clock.pass(awayMs);
            recorder.closed('same', {});
            await clock.pass(backMs);
          }
          if (!endsClosed) recorder.opened('frozen', 0);
          await clock.pass(61_000);
          recorder.stop();
          expect(busiestMinute(lines)).toBeLessThanOrEqual(LINES_PER_MINUTE_MAX);
          const last = lines.at(-1)!.event;
          if (endsClosed) expect(last).toBe('outage.closed');
          else expect(last).not.toBe('outage.closed');
          const leftOut = lines.reduce(
            (sum, { fields }) => sum + Number(fields.linesLeftOut ?? 0),
            0,
          );
          expect(
            lines.filter(({ event }) => event !== 'outage.summary').length + leftOut,
          ).toBeGreaterThanOrEqual(2 * flaps.length + (endsClosed ? 0 : 1));
        },
      ),
      { numRuns: 50 },
    );
  });

  it('in no more than the remembered number of records', () => {
    const { recorder } = rig();
    for (let i = 0; i < 10; i += 1) {
      recorder.opened('refused', i);
      recorder.closed('same', {});
    }
    expect(recorder.ended.map(({ counts }) => counts.held)).toEqual([7, 8, 9]);
    expect(recorder.current).toBeUndefined();
  });

  it('with the time until the first job, once', async () => {
    const { clock, recorder } = rig();
    recorder.firstJob();
    recorder.opened('refused', 0);
    recorder.closed('same', {}, clock.now() - 10);
    await clock.pass(32);
    recorder.firstJob();
    await clock.pass(1000);
    recorder.firstJob();
    expect(recorder.ended[0]!.firstJobMs).toBe(42);
  });
});

describe('the cause of an outage', () => {
  const told = (lines: readonly Line[]) =>
    lines.map(({ at, event, fields }) => [at, event, fields.condition]);

  it('is not told from the mere end of a connection, but from what the first probe says', async () => {
    const { clock, lines, recorder } = rig();
    recorder.opened('disconnected', 0, 0, 'Connection is closed.');
    await clock.pass(20);
    expect(lines).toEqual([]);
    recorder.saw('wrong-password', 'WRONGPASS invalid username-password pair');
    expect(lines[0]).toMatchObject({ at: 20, event: 'outage.opened' });
    expect(lines[0]!.fields).toMatchObject({
      condition: 'wrong-password',
      remedy: 'Mend wrong-password.',
      docs: 'docs/conditions.md#wrong-password',
      evidence: [{ text: 'WRONGPASS invalid username-password pair', count: 1 }],
    });
    // Another connection ends, which says nothing new.
    recorder.saw('disconnected', 'Connection is closed.');
    await clock.pass(2000);
    recorder.closed('same', {});
    recorder.stop();
    expect(recorder.ended[0]!.conditions).toEqual([
      { name: 'wrong-password', at: recorder.ended[0]!.startedAt },
    ]);
    expect(recorder.ended[0]!.evidence.map(({ count }) => count)).toEqual([2, 1]);
    expect(told(lines)).toEqual([
      [20, 'outage.opened', 'wrong-password'],
      [2020, 'outage.closed', 'wrong-password'],
    ]);
    expect(clock.pending).toBe(0);
  });

  it('is what listeners hear with the beginning, and they hear of each end', async () => {
    const { clock, recorder } = rig();
    const heard: unknown[] = [];
    recorder.on(({ conditions, endedAt }) =>
      heard.push([conditions[0]!.name, endedAt !== undefined]),
    );
    recorder.opened('disconnected', 0);
    expect(heard).toEqual([]);
    await clock.pass(20);
    recorder.saw('wrong-password', 'WRONGPASS');
    recorder.closed('same', {});
    recorder.opened('disconnected', 0);
    recorder.closed('same', {});
    recorder.stop();
    expect(heard).toEqual([
      ['wrong-password', false],
      ['wrong-password', true],
      ['disconnected', false],
      ['disconnected', true],
    ]);
  });

  it('is told as unknown where no probe has an answer within 300 ms, and when it is known', async () => {
    const { clock, lines, recorder } = rig();
    recorder.opened('disconnected', 0);
    await clock.pass(3000);
    recorder.saw('timeout', 'connect ETIMEDOUT');
    await clock.pass(5000);
    recorder.stop();
    expect(told(lines)).toEqual([
      [300, 'outage.opened', 'disconnected'],
      [3000, 'outage.cause', 'timeout'],
    ]);
    const { conditions, startedAt } = recorder.current!;
    expect(conditions).toEqual([{ name: 'timeout', at: startedAt }]);
    expect(clock.pending).toBe(0);
  });

  it('is told before the end where Redis is back before it is known', async () => {
    const { clock, lines, recorder } = rig();
    recorder.opened('disconnected', 0);
    await clock.pass(50);
    recorder.closed('same', {});
    recorder.firstJob();
    expect(told(lines)).toEqual([
      [50, 'outage.opened', 'disconnected'],
      [50, 'outage.closed', 'disconnected'],
    ]);
    recorder.opened('disconnected', 0);
    recorder.stop();
    expect(told(lines).at(-1)).toEqual([50, 'outage.opened', 'disconnected']);
    expect(clock.pending).toBe(0);
  });

  it('is told anew when another has stood for a second, seldom where it changes all the time', async () => {
    const { clock, lines, recorder } = rig();
    recorder.opened('refused', 0);
    await clock.pass(100);
    recorder.saw('loading', 'LOADING');
    await clock.pass(500);
    recorder.saw('refused', 'connect ECONNREFUSED');
    await clock.pass(5000);
    expect(told(lines)).toEqual([[0, 'outage.opened', 'refused']]);
    for (let i = 0; i < 60; i += 1) {
      recorder.saw(i % 2 === 0 ? 'loading' : 'refused', 'flaps');
      await clock.pass(2000);
    }
    const causes = lines.filter(({ event }) => event === 'outage.cause');
    expect(causes.length).toBeGreaterThan(3);
    expect(causes.length).toBeLessThanOrEqual(9);
    expect(busiestMinute(lines)).toBeLessThanOrEqual(LINES_PER_MINUTE_MAX);
    recorder.closed('same', {});
    recorder.stop();
    expect(lines.at(-1)).toMatchObject({ at: clock.now(), event: 'outage.closed' });
    expect(clock.pending).toBe(0);
  });
});

describe('the lines', () => {
  it('have a next summary that is always ahead, at most a minute', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e9, noNaN: true }), (since) => {
        const next = nextSummaryMs(since);
        expect(next).toBeGreaterThan(since);
        expect(next - since).toBeLessThanOrEqual(Math.max(SUMMARY_EVERY_MS, FIRST_SUMMARY_MS));
      }),
    );
  });

  it('never exceed the allowance of a sliding minute', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(10_000), { maxLength: 200 }), (gaps) => {
        const allowance = new LineAllowance();
        const spoken: number[] = [];
        let now = 0;
        let refused = 0;
        for (const gap of gaps) {
          now += gap;
          if (allowance.take(now)) spoken.push(now);
          else refused += 1;
          const recent = spoken.filter((at) => now - at < 60_000);
          expect(recent.length).toBeLessThanOrEqual(LINES_PER_MINUTE_MAX);
        }
        expect(allowance.unsaid()).toBe(refused);
        expect(allowance.unsaid()).toBe(0);
      }),
    );
  });
});

describe('a record', () => {
  it('stays small, whatever an outage throws at it, and counts every error', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 1000 }), { maxLength: 300 }), (texts) => {
        const record = openRecord('o-1', 'refused', 0, 0);
        for (const [at, text] of texts.entries()) {
          noteCondition(record, text.slice(0, 1), at);
          noteEvidence(record, text, at);
        }
        expect(record.conditions.length).toBeLessThanOrEqual(50);
        expect(record.evidence.length).toBeLessThanOrEqual(21);
        expect(Math.max(0, ...record.evidence.map(({ text }) => text.length))).toBeLessThanOrEqual(
          300,
        );
        expect(record.evidence.reduce((sum, { count }) => sum + count, 0)).toBe(texts.length);
      }),
    );
  });

  it('notes a condition when it changes', () => {
    const record = openRecord('o-1', 'refused', 0, 0);
    for (const name of ['refused', 'loading', 'loading', 'refused']) noteCondition(record, name, 1);
    expect(record.conditions.map(({ name }) => name)).toEqual(['refused', 'loading', 'refused']);
  });
});
