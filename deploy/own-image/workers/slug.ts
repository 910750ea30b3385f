/** A handler with an npm package of its own: a text in, its slug out. */
import { defineWorker } from 'holdfast';
import slugify from 'slugify';
import { z } from 'zod';

export default defineWorker({
  queue: 'slug',
  schema: z.object({ text: z.string().max(1000) }),
  handler: (job) => ({ slug: slugify(job.data.text, { lower: true, strict: true }) }),
});
