/** Every way to enqueue that a producer has, each of which may lose its answer. */
import type { JobsOptions } from 'bullmq';
import type { Client } from '../../../src/queue/client.ts';

export const QUEUE = 'q';
const DELAY_MS = 100;

export interface Way {
  name: string;
  /** Stands in the first bytes of the request. */
  text(mark: string): string;
  /** Resolves with the ids of all that was accepted. */
  enqueue(client: Client, mark: string, options: JobsOptions): Promise<string[]>;
}

/** `mark` goes with the data of every job, and says where in the test it was enqueued. */
const single = (name: string, optionsOf: (mark: string) => JobsOptions): Way => ({
  name,
  text: (mark) => mark,
  async enqueue(client, mark, options) {
    const all = { ...options, ...optionsOf(mark) };
    return [(await client.enqueue(QUEUE, name, { mark }, all)).id];
  },
});

export const ways: readonly Way[] = [
  single('plain', () => ({})),
  single('own id', (jobId) => ({ jobId })),
  single('delayed', () => ({ delay: DELAY_MS })),
  single('prioritised', () => ({ priority: 3 })),
  single('deduplicated', (id) => ({ deduplication: { id } })),
  {
    name: 'many',
    // The one in the middle.
    text: (mark) => `${mark}/1`,
    async enqueue(client, mark, options) {
      const jobs = [0, 1, 2].map((n) => {
        return { name: 'many', data: { mark: `${mark}/${n}` }, options };
      });
      return (await client.enqueueMany(QUEUE, jobs)).map(({ id }) => id);
    },
  },
  {
    name: 'flow',
    // Nothing else of a producer's is a transaction, and this is its first command.
    text: () => '$5\r\nmulti\r\n',
    async enqueue(client, mark, options) {
      const children = [1, 2].map((n) => ({
        queue: QUEUE,
        name: 'child',
        data: { mark },
        options: { ...options, jobId: `${mark}-child-${n}` },
      }));
      // It stays in Redis: a child that is added again would find its parent.
      const own = { jobId: mark };
      await client.flow({ queue: QUEUE, name: 'flow', data: { mark }, options: own, children });
      return [...children.map((child) => child.options.jobId), mark];
    },
  },
];
