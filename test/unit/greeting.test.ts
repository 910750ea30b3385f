/** What a person is told to type who has just started the service. */
import { expect, it } from 'vitest';
import { greeting } from '../../src/cli/greeting.ts';

const linesFor = (...queues: string[]) => {
  const started = { queues, address: undefined, embedded: undefined, hasDemo: false };
  return greeting(started, (_, text) => text)
    .split('\n')
    .filter((line) => line.includes('npx holdfast'))
    .map((line) => line.trim());
};
const status = 'npx holdfast status';

it('a question is suggested where faq runs', () => {
  expect(linesFor('report', 'faq')).toEqual([
    `npx holdfast enqueue faq '{"question":"What do I do when Redis is down?"}' --wait`,
    status,
  ]);
});

it('elsewhere a job of a queue that runs is, before those that come with Holdfast', () => {
  const job = (queue: string) =>
    `npx holdfast enqueue ${queue} '{}' --wait   # {}: the data that its handler takes`;
  expect(linesFor('webhook', 'report')).toEqual([job('report'), status]);
  expect(linesFor('webhook', 'steps')).toEqual([job('webhook'), status]);
  expect(linesFor("it's")).toEqual([job(`'it'\\''s'`), status]);
});

it('no job is suggested where no queue runs', () => {
  expect(linesFor()).toEqual([status]);
});

it('the demonstration is suggested where it is', () => {
  const saidWith = (hasDemo: boolean) =>
    greeting({ queues: [], address: undefined, embedded: undefined, hasDemo }, (_, text) => text);
  expect(saidWith(true)).toContain('npm run demo');
  expect(saidWith(false)).not.toContain('npm run');
});
