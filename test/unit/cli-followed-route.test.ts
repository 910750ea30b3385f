import { describe, expect, it } from 'vitest';
import { FollowedRoute } from '../../src/cli/followed-route.ts';
import { HttpRoute } from '../../src/cli/http-route.ts';
import type { Route } from '../../src/cli/route.ts';
import { NothingReachableError, RedisUnavailableError } from '../../src/errors.ts';
import type { JobView } from '../../src/queue/client.ts';

const JOB = { id: 'j', state: 'waiting' } as JobView;
const AWAY = new NothingReachableError(['the service']);

/** Straight to Redis, or to a service; counts how often it was closed. */
function routeTo(
  answer: JobView | Error | undefined,
  isService = false,
): Route & { closed: number } {
  const route = Object.create(isService ? HttpRoute.prototype : {}) as Route & { closed: number };
  return Object.assign(route, {
    closed: 0,
    async job() {
      if (answer instanceof Error) throw answer;
      return answer;
    },
    async close() {
      route.closed += 1;
    },
  });
}

describe('a route that is followed', () => {
  it('is found again where it leads nowhere, and the former one is closed', async () => {
    const first = routeTo(AWAY, true);
    const second = routeTo(JOB, true);
    const followed = new FollowedRoute(first, async () => second, true);
    expect(await followed.job('q', 'j')).toBe(JOB);
    expect([first.closed, second.closed]).toEqual([1, 0]);
    await followed.close();
    expect([first.closed, second.closed]).toEqual([1, 1]);
  });

  it('does not take a job for gone that is in the journal of the service that is away', async () => {
    const first = routeTo(AWAY, true);
    for (const other of [routeTo(undefined), routeTo(undefined, true)]) {
      const followed = new FollowedRoute(first, async () => other, false);
      await expect(followed.job('q', 'j')).rejects.toBe(AWAY);
      expect([first.closed, other.closed]).toEqual([0, 1]);
    }
    const followed = new FollowedRoute(first, async () => routeTo(undefined), true);
    expect(await followed.job('q', 'j')).toBeUndefined();
  });

  it('stays with a service that says that Redis is away, and with one that was named', async () => {
    const away = new RedisUnavailableError('reading', 'frozen', 'o');
    const never = () => Promise.reject(new RangeError('asked'));
    await expect(new FollowedRoute(routeTo(away, true), never, true).job('q', 'j')).rejects.toBe(
      away,
    );
    const named = new FollowedRoute(routeTo(AWAY, true), undefined, true);
    await expect(named.job('q', 'j')).rejects.toBe(AWAY);
  });

  it('looks for another Redis too', async () => {
    const first = routeTo(new RedisUnavailableError('reading', 'refused', 'o'));
    const followed = new FollowedRoute(first, async () => routeTo(JOB), true);
    expect(await followed.job('q', 'j')).toBe(JOB);
  });
});
