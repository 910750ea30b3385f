/**
 * The document that a job of the `faq` queue wrote: from the output folder when this replica sees
 * the file, else from the job's result, so that every replica can serve it.
 *
 * Ids come from strangers and BullMQ allows slashes in them: an id becomes a file name only when it
 * cannot be anything but a plain name, and links are not followed.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { DocumentUnavailableError, JobNotFoundError } from '../errors.ts';
import { assertQueueName } from '../queue/queue-name.ts';
import type { HttpContext } from './context.ts';
import { findJob, type JobParams } from './jobs.ts';

/** The queue whose jobs write `<id>.md`; ids are unique per queue only. */
const DOCUMENT_QUEUE = 'faq';

/** A generated document has a few KiB; a larger file is not one. */
const DOCUMENT_BYTES_MAX = 16 * 1024 * 1024;

const MARKDOWN_TYPE = 'text/markdown; charset=utf-8';
const UNFINISHED_RETRY_AFTER_SECONDS = 1;

export function registerDocument(app: FastifyInstance, context: HttpContext): void {
  app.get<{ Params: JobParams }>('/v1/queues/:queue/jobs/:id/document', async (request, reply) => {
    const { queue, id } = request.params;
    assertQueueName(queue);
    try {
      const markdown = await documentOf(context, queue, id);
      return reply.type(MARKDOWN_TYPE).send(markdown);
    } catch (error) {
      const isEarly = error instanceof DocumentUnavailableError && !isFinished(error.data.state);
      if (isEarly) reply.header('retry-after', String(UNFINISHED_RETRY_AFTER_SECONDS));
      throw error;
    }
  });
}

async function documentOf(context: HttpContext, queue: string, id: string): Promise<string> {
  if (queue === DOCUMENT_QUEUE) {
    const file = await readDocumentFile(context.config.faq.outputDir, id);
    if (file !== undefined) return file;
  }
  const job = await findJob(context, queue, id);
  // The job that was there already, when this one was a duplicate.
  if (job.id !== id) return await documentOf(context, queue, job.id);
  const { markdown } = (job.result ?? {}) as { markdown?: unknown };
  if (job.state === 'completed' && typeof markdown === 'string') return markdown;
  throw unavailable(queue, id, job.state, job.failedReason);
}

/** The file's text; undefined when there is none or the id cannot be a file name. */
export async function readDocumentFile(dir: string, id: string): Promise<string | undefined> {
  if (!isPlainFileName(id)) return undefined;
  // NONBLOCK: a pipe of that name would otherwise hold the request up for ever.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  try {
    await using file = await open(join(dir, `${id}.md`), flags);
    const { size } = await file.stat().then((stat) => (stat.isFile() ? stat : { size: -1 }));
    if (size < 0 || size > DOCUMENT_BYTES_MAX) return undefined;
    return await file.readFile('utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Not there, not ours to read, or a link: the job's own result decides.
    const isAbsent = ['ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP', 'ENXIO', 'EISDIR'].includes(
      `${code}`,
    );
    if (isAbsent) return undefined;
    throw error;
  }
}

/** Letters, digits, "-", "_" and inner dots: no separator, no drive, no hidden file, no "..". */
export function isPlainFileName(id: string): boolean {
  return /^[A-Za-z0-9_-](?:\.?[A-Za-z0-9_-])*$/.test(id) && id.length <= 200;
}

function isFinished(state: unknown): boolean {
  return state === 'completed' || state === 'failed' || state === 'refused';
}

function unavailable(queue: string, id: string, state: string, failedReason?: string): Error {
  if (state === 'unknown') return new JobNotFoundError(queue, id);
  if (state === 'completed') {
    const remedy = `Only jobs of the queue "${DOCUMENT_QUEUE}" write one; the job's result is at …/jobs/{id}.`;
    return new DocumentUnavailableError(queue, id, state, 'wrote no document', remedy);
  }
  if (state === 'failed') {
    const what = `failed (${failedReason ?? 'no reason recorded'}), so there is no document`;
    return new DocumentUnavailableError(queue, id, state, what, 'Correct the cause and retry it.');
  }
  if (state === 'refused') {
    const what = `was refused by Redis (${failedReason}), so there is no document`;
    const remedy = 'See `holdfast journal list --refused`; remove the cause and replay it.';
    return new DocumentUnavailableError(queue, id, state, what, remedy);
  }
  const what = `is not finished (${state})`;
  return new DocumentUnavailableError(
    queue,
    id,
    state,
    what,
    'Ask again later, or watch …/events.',
  );
}
