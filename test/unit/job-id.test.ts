/** Ids of new jobs. */
import { expect, it } from 'vitest';
import { newJobId } from '../../src/queue/job-id.ts';

it('are UUIDs of version 7 in the order of their making, each of the present', () => {
  const from = Date.now();
  const ids = Array.from({ length: 20_000 }, newJobId);
  const until = Date.now();
  for (const id of ids)
    expect(id).toMatch(/^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
  expect(ids.toSorted()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
  const madeAt = ids.map((id) => Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16));
  expect(Math.min(...madeAt)).toBeGreaterThanOrEqual(from);
  expect(Math.max(...madeAt)).toBeLessThanOrEqual(until);
});
