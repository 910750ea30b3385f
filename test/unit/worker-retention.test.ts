/** What is kept of finished jobs: the worker's own limits over those of the configuration. */
import { expect, it } from 'vitest';
import { keptJobs } from '../../src/worker/bull-worker.ts';

const byConfig = { age: 86_400, count: 1000 };

it.each([
  [undefined, byConfig],
  [{}, byConfig],
  [{ count: 5 }, { age: 86_400, count: 5 }],
  [{ age: 60 }, { age: 60, count: 1000 }],
  [
    { age: undefined, count: 0 },
    { age: 86_400, count: 0 },
  ],
])('a retention of %j leaves the other limit as it is configured', (own, expected) => {
  expect(keptJobs(own, byConfig)).toEqual(expected);
});
