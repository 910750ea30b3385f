import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HoldfastError } from '../../src/errors.ts';
import { isPlainFileName } from '../../src/http/document.ts';
import { BATCH_JOBS_MAX, idOfIdempotencyKey, readBody } from '../../src/http/job-input.ts';
import { assertKnownQueue, nearestName } from '../../src/http/queue-names.ts';
import { DATA_DEPTH_MAX } from '../../src/queue/payload.ts';
import { assertQueueName } from '../../src/queue/queue-name.ts';

const BYTES_MAX = 1000;

function refusal(act: () => unknown): HoldfastError {
  try {
    act();
  } catch (error) {
    if (error instanceof HoldfastError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

const refusalOf = (body: unknown) => refusal(() => readBody('faq', body, BYTES_MAX));

describe('a job that a producer sends', () => {
  it('takes the name of its queue when it has none', () => {
    expect(readBody('faq', { data: { a: 1 } }, BYTES_MAX)).toEqual({
      isBatch: false,
      jobs: [{ name: 'faq', data: { a: 1 }, options: {} }],
    });
  });

  it('may have any JSON as data, also null', () => {
    for (const data of [null, 0, '', [], false]) {
      expect(readBody('faq', { data }, BYTES_MAX).jobs[0]!.data).toEqual(data);
    }
  });

  it('keeps the options that BullMQ knows', () => {
    const options = {
      jobId: 'order-7',
      delay: 5,
      priority: 3,
      attempts: 4,
      backoff: { type: 'exponential', delay: 100, jitter: 0.5 },
      lifo: true,
      removeOnComplete: { age: 10, count: 5 },
      removeOnFail: true,
      deduplication: { id: 'x', ttl: 10, reschedule: true },
    };
    expect(readBody('faq', { data: 1, options }, BYTES_MAX).jobs[0]!.options).toEqual(options);
  });

  it('may have no number that is too large for one: it would be stored as null', () => {
    const data = JSON.parse('{"sizes":[1,{"of":-1e999}]}');
    expect(refusalOf({ data }).data.field).toBe('data.sizes[1].of');
    expect(refusalOf({ jobs: [{ data: 1 }, { data: Number.POSITIVE_INFINITY }] }).data.field).toBe(
      'jobs[1].data',
    );
  });

  it.each([
    [{}, 'data', /is missing/],
    [[], '', /an array, not an object/],
    [null, '', /empty/],
    ['x', '', /a string/],
    [{ data: 1, name: '' }, 'name', /is not valid/],
    [{ data: 1, name: 5 }, 'name', /is not valid/],
    [{ data: 1, dta: 2 }, 'dta', /Did you mean "data"/],
    [{ data: 1, delay: 5 }, 'delay', /Put it into "options"/],
    [{ data: 1, options: { dely: 5 } }, 'options.dely', /Did you mean "delay"/],
    [{ data: 1, options: { delay: -1 } }, 'options.delay', /is not valid/],
    [{ data: 1, options: { delay: '5s' } }, 'options.delay', /milliseconds/],
    [{ data: 1, options: { delay: 1e300 } }, 'options.delay', /is not valid/],
    [{ data: 1, options: { attempts: 1.5 } }, 'options.attempts', /whole/],
    [{ data: 1, options: { priority: 3_000_000 } }, 'options.priority', /is not valid/],
    [{ data: 1, options: { repeat: { every: 5 } } }, 'options.repeat', /schedules\.json/],
    [{ data: 1, options: { jobId: '12' } }, 'options.jobId', /whole number/],
    [{ data: 1, options: { jobId: 'a:b' } }, 'options.jobId', /":"/],
    [
      { data: 1, options: { jobId: 'meta' } },
      'options.jobId',
      /may not be "meta", the name of a key/,
    ],
    [
      { data: 1, options: { backoff: { type: 'fixed', delay: -1 } } },
      'options.backoff.delay',
      /is not valid/,
    ],
    [{ data: 1, options: { backoff: 'x' } }, 'options.backoff', /allowed forms/],
    [{ data: 1, options: { backoff: { type: 5 } } }, 'options.backoff.type', /is not valid/],
    [{ data: 1, options: { backoff: { typ: 'x' } } }, 'options.backoff.type', /is not valid/],
    [{ data: 1, options: { removeOnFail: { age: '1' } } }, 'options.removeOnFail.age', /not valid/],
    [{ data: 1, options: { removeOnFail: { old: 1 } } }, 'options.removeOnFail.old', /Remove it/],
    [
      { jobs: [{ data: 1 }, { data: 'ten bytes', options: { sizeLimit: 10 } }] },
      'jobs[1].options.sizeLimit',
      /less than the 11 bytes/,
    ],
    [{ jobs: [] }, 'jobs', /1 to 1000/],
    [{ jobs: 'x' }, 'jobs', /a string/],
    [{ jobs: {} }, 'jobs', /is an object/],
    [{ jobs: [{ data: 1 }, {}] }, 'jobs[1].data', /is missing/],
    [{ jobs: [{ data: 1, options: { delay: -1 } }] }, 'jobs[0].options.delay', /is not valid/],
    [{ jobs: [{ data: 1 }], name: 'x' }, 'name', /stands beside/],
    [{ jobs: Array(BATCH_JOBS_MAX + 1).fill({ data: 1 }) }, 'jobs', /1001 entries/],
  ])('%j is refused with its field', (body, field, message) => {
    const error = refusalOf(body);
    expect(error.code).toBe('HOLDFAST_INPUT_INVALID');
    expect(error.data.field).toBe(field);
    expect(error.message).toMatch(message);
  });

  it('is refused over MAX_JOB_BYTES, counted in bytes and not in characters', () => {
    expect(() => readBody('faq', { data: 'x'.repeat(BYTES_MAX - 2) }, BYTES_MAX)).not.toThrow();
    const error = refusalOf({ data: 'é'.repeat(BYTES_MAX / 2) });
    expect(error.code).toBe('HOLDFAST_JOB_TOO_LARGE');
    expect(error.data).toMatchObject({ field: 'data', bytes: BYTES_MAX + 2, bytesMax: BYTES_MAX });
    const second = refusalOf({ jobs: [{ data: 1 }, { data: 'x'.repeat(BYTES_MAX) }] });
    expect(second.data).toMatchObject({ field: 'jobs[1].data', bytes: BYTES_MAX + 2 });
    expect(second.message).toMatch(/^jobs\[1\]\.data for queue "faq" has 1002 bytes/);
  });

  it('is refused when its data is nested too deep, however deep', () => {
    const nested = (levels: number) => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
    expect(() => readBody('faq', { data: nested(DATA_DEPTH_MAX) }, BYTES_MAX)).not.toThrow();
    for (const levels of [DATA_DEPTH_MAX + 1, 200_000]) {
      expect(refusalOf({ data: nested(levels) }).message).toMatch(/nested deeper/);
    }
  });

  it('never gets anything but a typed refusal, whatever is sent', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (body) => {
        try {
          readBody('faq', body, BYTES_MAX);
        } catch (error) {
          expect(error).toBeInstanceOf(HoldfastError);
        }
      }),
    );
  });
});

describe('an idempotency key', () => {
  it('stands for one job id per queue and place in the batch', () => {
    const ids = [
      idOfIdempotencyKey('faq', 'k'),
      idOfIdempotencyKey('faq', 'k', 0),
      idOfIdempotencyKey('faq', 'k', 1),
      idOfIdempotencyKey('webhook', 'k'),
      idOfIdempotencyKey('faq', 'k2'),
    ];
    expect(new Set(ids).size).toBe(ids.length);
    expect(idOfIdempotencyKey('faq', 'k')).toBe(ids[0]);
    for (const id of ids) expect(isPlainFileName(id)).toBe(true);
  });

  it.each(['', ' ', 'a\nb', 'ä', 'x'.repeat(256)])('%j is refused', (key) => {
    expect(() => idOfIdempotencyKey('faq', key)).toThrow(/Idempotency-Key is not/);
  });
});

describe('a queue name', () => {
  it('of no handler is refused with the known names and the nearest', () => {
    const error = refusal(() => assertKnownQueue('fqa', ['faq', 'webhook'], false));
    expect(error.code).toBe('HOLDFAST_QUEUE_UNKNOWN');
    expect(error.data).toMatchObject({ known: ['faq', 'webhook'], nearest: 'faq' });
    expect(error.message).toMatch(/Did you mean "faq"/);
  });

  it('of no handler passes when that is meant', () => {
    expect(() => assertKnownQueue('elsewhere', ['faq'], true)).not.toThrow();
  });

  it.each(['', 'a:b', 'a b', 'a\u0000', '{a}', 'x'.repeat(129), '\u200b'])(
    '%j is refused even then',
    (name) => expect(() => assertKnownQueue(name, ['faq'], true)).toThrow(/Queue name/),
  );

  it.each(['faq', 'video/encode', 'a.b-c_d', 'évènements', '..'])('%j is usable', (name) =>
    expect(() => assertQueueName(name)).not.toThrow(),
  );

  it('gets no suggestion that is further from it than a slip of the fingers', () => {
    expect(nearestName('payments', ['faq', 'webhook'])).toBeUndefined();
    expect(nearestName('Webhok', ['faq', 'webhook'])).toBe('webhook');
  });
});

describe('a job id as a file name', () => {
  it.each(['a', '0199-abc', 'a.b', 'key-00ff', 'A_b'])('%j is plain', (id) =>
    expect(isPlainFileName(id)).toBe(true),
  );
  it.each([
    '',
    '.',
    '..',
    '../x',
    'a/b',
    'a\\b',
    '.env',
    'a..b',
    'a\0',
    'a%2f',
    'C:x',
    'x'.repeat(201),
  ])('%j is not', (id) => expect(isPlainFileName(id)).toBe(false));
});
