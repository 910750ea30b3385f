/** The first words of the status page, case by case. */
import { describe, expect, it } from 'vitest';
import { type SummaryOf, summaryOf } from '../../src/http/status-summary.ts';

const JOURNAL = {
  entries: 0,
  outcomes: 0,
  jobs: 0,
  refused: 0,
  bytes: 0,
  bytesMax: 1000,
  entriesMax: 10,
  oldestAt: undefined,
  commitMs: undefined,
  trouble: undefined,
};
const of = (changes: Partial<SummaryOf> = {}) =>
  summaryOf({
    breaker: 'closed',
    condition: undefined,
    isStarted: true,
    isStopping: false,
    queues: [{ queue: 'faq', isConsuming: true, concurrency: 2 }],
    journal: JOURNAL,
    warnings: [],
    ...changes,
  });
const AWAY = { breaker: 'open', condition: 'refused', meaning: 'nothing listens' } as const;

describe('the headline', () => {
  it('is calm when Redis answers and every queue is worked on', () => {
    expect(of()).toMatchObject({ level: 'calm', headline: 'All is well' });
  });

  it('stays calm when QUEUES leaves a queue to other replicas', () => {
    const elsewhere = { queue: 'x', isConsuming: false, concurrency: 0, reason: 'not in QUEUES' };
    expect(of({ queues: [elsewhere] }).level).toBe('calm');
  });

  it('names the queues that are not worked on, and why', () => {
    const quiet = { queue: 'faq', isConsuming: false, concurrency: 2, reason: 'quiet' };
    expect(of({ queues: [quiet] })).toMatchObject({
      level: 'notice',
      sentence: expect.stringContaining('faq (quiet)'),
    });
  });

  it('says what may become an outage, and no more of it in one', () => {
    const warnings = [{ name: 'memory-filling', evidence: '93 % of maxmemory is used' }] as const;
    expect(of({ warnings })).toMatchObject({
      level: 'notice',
      headline: 'All is well, with a warning',
      sentence: expect.stringContaining('memory-filling (93 % of maxmemory is used)'),
    });
    expect(of({ ...AWAY, warnings }).sentence).not.toContain('memory-filling');
  });

  it('does not say of no queue that it is worked on', () => {
    expect(of({ queues: [] }).sentence).toMatch(/No handler is here/);
  });

  it('says in an outage why, and that new jobs are kept', () => {
    const summary = of({ ...AWAY, journal: { ...JOURNAL, entries: 1, jobs: 1 } });
    expect(summary).toMatchObject({ level: 'outage', headline: 'Redis is away' });
    expect(summary.sentence).toMatch(/^Nothing listens\. .*new ones are kept\. 1 entry waits/);
  });

  it('never says that jobs are kept when they are not', () => {
    const full = { ...JOURNAL, entries: 10, jobs: 10, bytes: 500 };
    expect(of({ ...AWAY, journal: full }).sentence).toMatch(/full: new jobs are refused/);
    const failing = { ...JOURNAL, trouble: 'its disk fails' };
    expect(of({ ...AWAY, journal: failing }).sentence).toMatch(
      /its disk fails: new jobs are refused/,
    );
    expect(of({ ...AWAY, journal: undefined }).sentence).toMatch(/new ones are refused/);
  });

  it('tells what comes before and after: starting, coming back, catching up, by hand, stopping', () => {
    expect(of({ breaker: 'open', condition: 'connecting' }).headline).toBe('Starting');
    expect(of({ isStarted: false }).headline).toBe('Starting');
    expect(of({ breaker: 'half-open', condition: 'refused' }).headline).toMatch(/coming back/);
    const kept = { ...JOURNAL, entries: 3, jobs: 3 };
    expect(of({ journal: kept }).headline).toBe('Catching up');
    expect(of({ breaker: 'isolated' }).headline).toMatch(/by hand/);
    expect(of({ isStopping: true }).headline).toBe('Stopping');
  });
});
