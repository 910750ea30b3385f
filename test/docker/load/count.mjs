/**
 * A handler for the tests of a fleet: each run leaves a line on the volume that all replicas share, when
 * it begins, so that runs are counted whatever becomes of Redis or of the replica.
 */
import { appendFileSync, mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as work } from 'node:timers/promises';

const runs = join(process.env.OUTPUT_DIR, 'runs');

export default {
  queue: 'count',
  setup() {
    mkdirSync(runs, { recursive: true });
  },
  async handler(job) {
    // One small append: lines of several processes do not mix.
    appendFileSync(join(runs, hostname()), `${job.id}\n`);
    await work(job.data.ms);
    return job.data.ms;
  },
};
