/** What a queue's definition promises to the compiler (tsc checks this file) and at run time. */
import { describe, expect, expectTypeOf, it } from 'vitest';
import { z } from 'zod';
import { type Client, defineQueue, type QueueDefinition } from '../../src/index.ts';
import { checkedData } from '../../src/queue/queue-definition.ts';

const mail = defineQueue({
  queue: 'mail',
  schema: z.object({ to: z.string(), tags: z.array(z.string()).optional() }),
});

describe('a queue that producer and worker both import', () => {
  it('has the type of its data from its schema, as it goes in', () => {
    expectTypeOf(mail).toEqualTypeOf<
      QueueDefinition<{ to: string; tags?: string[] | undefined }>
    >();
    const coerced = defineQueue({
      queue: 'n',
      schema: z.object({ n: z.string().transform(Number) }),
    });
    expectTypeOf(coerced).toEqualTypeOf<QueueDefinition<{ n: string }>>();
    expectTypeOf(defineQueue<{ a: 1 }>({ queue: 'given' })).toEqualTypeOf<
      QueueDefinition<{ a: 1 }>
    >();
    expect(mail).toMatchObject({ queue: 'mail', name: 'mail' });
  });

  it('is checked by the compiler where it is enqueued', () => {
    // Never called: only its types are looked at.
    const typesOf = async (client: Client): Promise<void> => {
      await client.enqueue(mail, { to: 'a' });
      await client.enqueue(mail, { to: 'a', tags: ['x'] }, { attempts: 3 });
      // @ts-expect-error: `to` is a text
      await client.enqueue(mail, { to: 7 });
      // @ts-expect-error: `to` is missing
      await client.enqueue(mail, {});
      // @ts-expect-error: there is no such option of a job
      await client.enqueue(mail, { to: 'a' }, { atempts: 3 });
      // @ts-expect-error: a name without a definition is followed by the job's name
      await client.enqueue('mail', { to: 'a' });
    };
    expect(typesOf).toBeTypeOf('function');
  });

  it('refuses data that does not fit and names the field', async () => {
    await expect(checkedData(mail, { to: 'a', tags: ['x', 7] })).rejects.toMatchObject({
      code: 'HOLDFAST_INPUT_INVALID',
      message: expect.stringMatching(/^data\.tags\.1 .*queue "mail"/),
    });
    await expect(checkedData(mail, 7)).rejects.toThrow(/^data does not fit/);
  });

  it('takes the data as it was given, not as a schema would change it', async () => {
    const data = { n: '7' };
    const coerced = defineQueue({ queue: 'n', schema: z.object({ n: z.coerce.number() }) });
    expect(await checkedData(coerced, data)).toBe(data);
  });
});
