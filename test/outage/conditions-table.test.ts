/**
 * Which fault is given which word, and how soon: each fault against a real server, with a worker that
 * waits for jobs. No other word may be said while the fault lasts, and the log has its remedy. With CONDITIONS_RECORD=1 the table
 * goes to docs/conditions-matrix.md.
 */
import './faults/hosts.ts';
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'bullmq';
import pino from 'pino';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import {
  type ConditionName,
  conditionAnchor,
  conditions,
} from '../../src/redis/condition-catalogue.ts';
import { systemClock } from '../../src/time.ts';
import { startTarget, type TestTarget } from '../support/target.ts';
import { FAULTS, type Fault, WORKED_QUEUE } from './conditions/faults.ts';
import { type Place, plainPlace } from './conditions/place.ts';

/**
 * From the fault itself: a quiet connection is asked each 700 ms and answers within 2 s, and a worker
 * that waits for jobs writes each 2.4 s at the latest.
 */
const NAMED_WITHIN_MS = 3000;
/** The line at the end waits for the first job, which never comes here, ms. */
const END_TOLD_MS = 2000;
/** The fault lasts so long after it was named, for a second word to be said. */
const WATCHED_MS = 1500;

interface Line {
  event: string;
  msg: string;
  condition?: string;
  remedy?: string;
  conditions?: string[];
  at: number;
}

interface Row {
  what: string;
  name: string;
  ms: number;
  /** Of the line that opens the outage. */
  first: string;
  /** After it, where the first is true and not all. */
  then: string[];
}
const rows: Row[] = [];

/** A target with an eye on what it says. */
async function watched({ redis }: Place) {
  const lines: Line[] = [];
  const write = (line: string) => lines.push({ ...JSON.parse(line), at: performance.now() });
  const log = pino({ level: 'info' }, { write });
  const target = await startTarget(redis.url ?? '', { log, redis });
  onTestFinished(() => target.stop(systemClock.now() + 500));
  const said: { name: string; at: number }[] = [];
  target.onChange(({ condition }) => {
    if (condition && said.at(-1)?.name !== condition) {
      said.push({ name: condition, at: performance.now() });
    }
  });
  return { target, lines, said };
}

/** Resolves when a worker waits in its blocking read. */
async function idleWorker(target: TestTarget, { server, prefix }: Place): Promise<void> {
  const worker = new Worker(
    WORKED_QUEUE,
    async ({ data }) => await sleep(data.ms, 'done'),
    { connection: target.connection, ...(prefix === undefined ? {} : { prefix }) },
    target.backendFactory,
  );
  worker.on('error', () => undefined);
  onTestFinished(() => worker.close(true));
  await expect.poll(() => target.state().breaker).toBe('closed');
  await expect.poll(() => server.command('CLIENT', 'LIST')).toMatch(/cmd=bzpopmin/);
  await sleep(300);
}

async function watch(fault: Fault): Promise<Row> {
  const place = await (fault.place ?? plainPlace())();
  // A frozen server would not end.
  onTestFinished(() => place.server.stop());
  const limitMs = NAMED_WITHIN_MS + (fault.moreMs ?? 0) + (fault.isToldAtEnd ? END_TOLD_MS : 0);
  if (fault.isFromStart) await fault.cause(place);
  let at = performance.now();
  const { target, lines, said } = await watched(place);
  if (!fault.isFromStart) {
    await idleWorker(target, place);
    said.length = 0;
    at = performance.now();
    const causedAt = await fault.cause(place, target);
    if (typeof causedAt === 'number') at = causedAt;
  }
  const named = (): { name: string; at: number } | undefined => {
    if (!fault.isToldAtEnd) return said.find(({ name }) => name === fault.name);
    const end = lines.find(({ event }) => event === 'outage.closed');
    return end && { name: fault.name, at: end.at };
  };

  await expect.poll(named, { timeout: limitMs + 5000, interval: 20 }).toBeDefined();
  await sleep(WATCHED_MS);
  const opened = lines.find(({ event }) => event === 'outage.opened');
  const end = lines.find(({ event }) => event === 'outage.closed');
  const lasting = (name: string | undefined) =>
    name !== undefined && !('isProvisional' in conditions[name as ConditionName]);
  const words = new Set([opened?.condition, ...said.map(({ name }) => name)].filter(lasting));
  for (const name of end?.conditions ?? []) words.add(name);
  // The log says what to do about this fault, not about what it looked like.
  const telling = ['outage.opened', 'outage.cause'];
  const { remedy } = conditions[fault.name];
  if (fault.isToldAtEnd) expect(end?.msg).toContain(remedy);
  else {
    const line = lines.find(({ event, condition }) => {
      return telling.includes(event) && condition === fault.name;
    });
    expect(line?.msg).toContain(remedy);
    expect(line).toMatchObject({ remedy, docs: conditionAnchor(fault.name) });
  }
  if (fault.evidence) {
    const texts = target.outages.current?.evidence.map(({ text }) => text) ?? [];
    expect(texts.join('\n')).toMatch(fault.evidence);
  }
  const ms = Math.round(named()!.at - at);
  expect(ms).toBeLessThan(limitMs);
  const [first = '', ...then] = words as Set<string>;
  return { what: fault.what, name: fault.name, ms, first, then };
}

describe('a fault is given its own word and no other', () => {
  for (const fault of FAULTS) {
    it(`${fault.what}: ${fault.name}`, async () => {
      const row = await watch(fault);
      rows.push(row);
      const allowed: readonly string[] = [fault.name, ...(fault.also ?? [])];
      const words = [row.first, ...row.then];
      expect(words.filter((name) => !allowed.includes(name))).toEqual([]);
      expect(words).toContain(fault.name);
    });
  }

  it('has a row for each word that opens a breaker', () => {
    const all = Object.entries(conditions).filter(
      ([, known]) => !('isWarning' in known || 'isProvisional' in known),
    );
    const rowless = all
      .map(([name]) => name)
      .filter((name) => !FAULTS.some((f) => f.name === name));
    // Before the first answer it is a state, no fault.
    expect(rowless).toEqual(['connecting']);
  });
});

afterAll(() => {
  if (process.env.CONDITIONS_RECORD !== '1') return;
  const table = rows.map(
    ({ what, name, ms, first, then }) =>
      `| ${what} | [\`${name}\`](conditions.md#${name}) | ${ms} | \`${first}\` | ${then.map((s) => `\`${s}\``).join(' ')} | ${conditions[name as ConditionName].remedy} |`,
  );
  writeFileSync(
    'docs/conditions-matrix.md',
    [
      '# Faults and the words for them',
      '',
      'What `CONDITIONS_RECORD=1 npx vitest run --project outage test/outage/conditions-table.test.ts` saw',
      `on ${new Date().toISOString().slice(0, 10)}: real servers, a worker that waits for jobs, ms from the fault itself to its word. "first`,
      'word" is that of the line `outage.opened`; "then" are further ones until 1.5 s after the fault was named,',
      'which are true as well, and no other may be said: a server that was killed refuses before it loads its',
      'data. For the moment between the end of a connection and the first probe, 50 ms in a small fleet, the',
      'word is `disconnected`, which names no cause. Faults that only writes meet (`no-replicas`,',
      '`out-of-memory`, `cannot-persist`, `cluster-down`) wait for the next one: a worker without jobs writes a',
      'sign of life each 2.4 s at the latest. A server that answers late looks frozen until its answer comes',
      '(`slow`). What became of the server (`server-restarted`, `failed-over`, `data-rolled-back`, `data-lost` after',
      'a restart) is told by the line at the end of the outage, which waits 2 s for the first job: its time',
      'counts from when Redis answers again. FLUSHALL is seen by the next script that writes, the sign of life at the latest.',
      '',
      '| fault | condition | ms | first word | then | remedy |',
      '|---|---|---:|---|---|---|',
      ...table,
      '',
    ].join('\n'),
  );
});
