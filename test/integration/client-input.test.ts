/** What a caller without a compiler gets wrong is named, in calm weather and in an outage alike. */
import pino from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createClient } from '../../src/create-client.ts';
import type { Client } from '../../src/queue/client.ts';

const log = pino({ level: 'silent' });
const nobody = 'redis://127.0.0.1:1';
/** As JavaScript sees it. */
// biome-ignore lint/suspicious/noExplicitAny: wrong types are what is tried here.
let client: any;

beforeAll(async () => {
  client = await createClient({ redis: nobody, journal: 'memory', log });
});

afterAll(() => (client as Client).close());

const cyclic: { self?: unknown } = {};
cyclic.self = cyclic;
/** Throws what BullMQ throws for options that do not fit together. */
const sayingNo = {
  toJSON() {
    throw new Error('no');
  },
};
const job = (data: unknown) => ({ name: 'n', data });
const id = (jobId: string) => ({ jobId });
const of = (data: unknown) => ({ queue: 'q', name: 'n', data });

function nested(levels: number): unknown {
  return JSON.parse(`${'['.repeat(levels)}${']'.repeat(levels)}`);
}

const wrong: [string, () => Promise<unknown>][] = [
  ['queue', () => client.enqueue(undefined, 'n', 1)],
  ['queue', () => client.enqueue(7, 'n', 1)],
  ['name', () => client.enqueue('q', 7, 1)],
  ['options', () => client.enqueue('q', 'n', 1, 'delay')],
  ['data', () => client.enqueue('q', 'n', () => 1)],
  ['data', () => client.enqueue('q', 'n', { big: 1n })],
  ['data', () => client.enqueue('q', 'n', cyclic)],
  ['data', () => client.enqueue('q', 'n', sayingNo)],
  ['data', () => client.enqueue('q', 'n', nested(101))],
  ['jobs[1].data', () => client.enqueueMany('q', [job(1), job(cyclic)])],
  ['children[0].data', () => client.flow({ ...of(1), children: [of(cyclic)] })],
  ['jobs', () => client.enqueueMany('q')],
  ['jobs[0]', () => client.enqueueMany('q', [null])],
  ['jobs[0].opts', () => client.enqueueMany('q', [{ name: 'n', data: 1, opts: { delay: 5 } }])],
  ['flow', () => client.flow()],
  ['children', () => client.flow({ queue: 'q', name: 'n', children: {} })],
  ['children[0]', () => client.flow({ queue: 'q', name: 'n', children: [null] })],
  ['opts', () => client.flow({ queue: 'q', name: 'n', data: 1, opts: { delay: 5 } })],
  ['queueName', () => client.flow({ queueName: 'q', name: 'n', data: 1 })],
  ['id', () => client.job('q')],
  ['options.jobId', () => client.enqueue('q', 'n', 1, id('wait'))],
  ['jobs[0].options.jobId', () => client.enqueueMany('q', [{ ...job(1), options: id('meta') }])],
  [
    'children[0].options.jobId',
    () => client.flow({ ...of(1), children: [{ ...of(1), options: id('id') }] }),
  ],
  ['opts.jobId', () => client.queue('q').add('n', 1, id('failed'))],
  ['opts.jobId', () => client.queue('q').addBulk([job(1), { ...job(1), opts: id('de:a:b') }])],
];

it.each(wrong)('names %s', async (field, call) => {
  await expect(call()).rejects.toMatchObject({ code: 'HOLDFAST_INPUT_INVALID', field });
});

it('refuses in an outage what Redis would refuse, also of what comes through a Queue', async () => {
  const options = { deduplication: { id: 'a', ttl: '5s' } };
  const refusal = { code: 'HOLDFAST_INPUT_INVALID' };
  await expect(client.enqueue('q', 'n', 1, options)).rejects.toMatchObject(refusal);
  const queue = client.queue('q');
  await expect(queue.add('n', 1, options)).rejects.toMatchObject(refusal);
  await expect(queue.add('n', () => 1)).rejects.toMatchObject(refusal);
  await expect(queue.addBulk([{ name: 'n', data: 1, opts: options }])).rejects.toMatchObject(
    refusal,
  );
});

it('names what exceeds the limit of a job, and takes what does not', async () => {
  const refusal = { code: 'HOLDFAST_JOB_TOO_LARGE' };
  const large = 'x'.repeat(1024 * 1024);
  await expect(client.enqueue('q', 'n', large)).rejects.toMatchObject(refusal);
  await expect(client.enqueue('q', 'n', large.slice(2))).resolves.toMatchObject({
    stored: 'journal',
  });
});

it('says what BullMQ has against options that do not fit together', async () => {
  const options = { failParentOnFailure: true, removeDependencyOnFailure: true };
  await expect(client.enqueue('q', 'n', 1, options)).rejects.toMatchObject({
    code: 'HOLDFAST_INPUT_INVALID',
    field: 'options',
  });
});
