import { describe, expect, it } from 'vitest';
import { waitForJob } from '../../src/cli/wait.ts';
import { RedisUnavailableError } from '../../src/errors.ts';
import type { JobView } from '../../src/queue/client.ts';

const VIEW: JobView = {
  id: 'j',
  queue: 'q',
  name: 'q',
  state: 'waiting',
  stored: 'redis',
  progress: 0,
  result: null,
  failedReason: undefined,
  attemptsMade: 0,
  createdAt: 0,
  startedAt: undefined,
  finishedAt: undefined,
};

type Answer = Partial<JobView> | undefined | Error;

/** Answers in order, the last one for ever. */
function routeOf(...answers: Answer[]) {
  let asked = 0;
  return {
    job: async (): Promise<JobView | undefined> => {
      const answer = answers[Math.min(asked++, answers.length - 1)];
      if (answer instanceof Error) throw answer;
      return answer === undefined ? undefined : { ...VIEW, ...answer };
    },
  };
}

async function wait(answers: Answer[], goneAfterMs = 0, timeoutMs = 60_000) {
  const said: string[] = [];
  const options = { timeoutMs, goneAfterMs, say: (line: string) => void said.push(line) };
  return { end: await waitForJob(routeOf(...answers), 'q', 'j', options), said };
}

describe('waiting for a job', () => {
  it('says each change once', async () => {
    const active = { state: 'active', progress: 40, attemptsMade: 1 };
    const { end, said } = await wait([{}, {}, active, active, { state: 'completed', result: 1 }]);
    expect(end).toMatchObject({ type: 'finished', job: { result: 1 } });
    expect(said).toEqual(['waiting', 'active · 40 % · attempt 2']);
  });

  it('ends with a job that Redis refused, and says why', async () => {
    const refused = { state: 'refused', failedReason: 'BullMQ answered -5' };
    const { end } = await wait([{ state: 'journaled' }, refused]);
    expect(end).toMatchObject({ type: 'finished', job: refused });
  });

  it('ends when the job has been missing for the time that a recovery may take', async () => {
    expect((await wait([{}, undefined, undefined])).end).toEqual({ type: 'gone' });
  });

  it('goes on when a missing job comes back, as after a rollback', async () => {
    const { end } = await wait([{}, undefined, { state: 'completed' }], 60_000);
    expect(end.type).toBe('finished');
  });

  it('does not count an outage as missing', async () => {
    const away = new RedisUnavailableError('reading', 'refused', undefined);
    const { end, said } = await wait([away, away, { state: 'failed' }]);
    expect(end).toMatchObject({ type: 'finished', job: { state: 'failed' } });
    expect(said[0]).toMatch(/refused/);
    expect(said).toHaveLength(2);
  });

  it('ends at its deadline with what it saw last', async () => {
    const { end } = await wait([{ state: 'delayed' }], 0, 0);
    expect(end).toMatchObject({ type: 'timed-out', last: { state: 'delayed' } });
  });

  it('lets no progress text steer the terminal', async () => {
    const { said } = await wait([{ progress: 'a\u001b[2J\nb' }, { state: 'completed' }]);
    expect(said).toEqual(['waiting · a [2J b']);
  });
});
