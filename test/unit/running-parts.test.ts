/** The parts of a service end one after the other. */
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { RunningParts } from '../../src/running-parts.ts';

const logOf = (lines: string[]) => pino({}, { write: (line: string) => void lines.push(line) });

it('a part whose turn comes after its deadline is not called overdue for that', async () => {
  const lines: string[] = [];
  const parts = new RunningParts(logOf(lines));
  const ended: string[] = [];
  parts.add('workers', async () => {
    await sleep(20);
    ended.push('workers');
  });
  await parts.stop(() => performance.now() - 1000);
  expect(ended).toEqual(['workers']);
  expect(lines).toEqual([]);
});

it('a part that does not end is given up and told of, and those before it are stopped', async () => {
  const lines: string[] = [];
  const parts = new RunningParts(logOf(lines));
  const ended: string[] = [];
  parts.add('first', async () => void ended.push('first'));
  parts.add('hangs', () => new Promise(() => {}));
  await parts.stop(() => performance.now());
  expect(ended).toEqual(['first']);
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    expect.objectContaining({ event: 'part.overdue', part: 'hangs' }),
  ]);
});
