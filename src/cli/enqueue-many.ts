/**
 * Many jobs from one stream, in batches: bounded memory, a progress line, and on a mistake or an
 * outage the exact line up to which everything is kept.
 */
import { HoldfastError, OutcomeUnknownError } from '../errors.ts';
import { BATCH_JOBS_MAX, type JobInput } from '../http/job-input.ts';
import { EXIT } from './exit-codes.ts';
import { Interruption } from './interruption.ts';
import type { JobSource, SourceValue } from './job-source.ts';
import { ShareProgress } from './progress.ts';
import type { Route } from './route.ts';
import { note, print } from './terminal.ts';

/** Well under the service's body limit, so that a batch is never refused for its size alone. */
const BATCH_BYTES_MAX = 2 * 1024 * 1024;

/** Adds everything; resolves with the exit code. @throws the first mistake, after telling how far it came */
export async function enqueueMany(
  route: Route,
  queue: string,
  input: JobSource,
  jobOf: (value: SourceValue) => JobInput,
  options: { json?: boolean; unknown?: boolean },
): Promise<number> {
  const began = performance.now();
  const progress = new ShareProgress();
  let count = 0;
  let keptUpToLine = 0;
  let inJournal = 0;
  let batch: JobInput[] = [];
  let batchBytes = 0;
  let lastLine = 0;

  const send = async (): Promise<void> => {
    if (batch.length === 0) return;
    const accepted = await route.enqueue(queue, batch, options.unknown ?? false);
    count += accepted.length;
    keptUpToLine = lastLine;
    batch = [];
    batchBytes = 0;
    // Ids and progress share the screen only when nobody redirects the ids.
    if (process.stdout.isTTY) progress.clear();
    for (const { id, stored } of accepted) {
      if (stored === 'journal') inJournal++;
      print(options.json ? JSON.stringify({ id, queue, stored }) : id);
    }
    progress.show(progressText(count, performance.now() - began), input.fractionRead());
  };

  const keptSoFar = () =>
    `${count} jobs are kept, up to line ${keptUpToLine} of ${input.name}; nothing after it. Go on with: tail -n +${keptUpToLine + 1}`;
  using interruption = new Interruption(() => {
    progress.clear();
    note(keptSoFar());
  });

  try {
    for await (const value of input.values) {
      const job = jobOf(value);
      const bytes = Buffer.byteLength(JSON.stringify(job.data));
      if (batch.length === BATCH_JOBS_MAX || batchBytes + bytes > BATCH_BYTES_MAX) {
        await interruption.step(send);
      }
      batch.push(job);
      batchBytes += bytes;
      lastLine = value.line;
    }
    await interruption.step(send);
  } catch (error) {
    progress.clear();
    if (error instanceof HoldfastError) await keepGoodLines(send, error);
    note(
      error instanceof OutcomeUnknownError
        ? `${count} jobs are kept, up to line ${keptUpToLine} of ${input.name}; whether those of lines ${keptUpToLine + 1} to ${lastLine} are is not known.`
        : keptSoFar(),
    );
    throw error;
  }
  progress.clear();
  const seconds = (performance.now() - began) / 1000;
  const journaled =
    inJournal > 0 ? `, ${inJournal} of them in its journal: Redis is away or slow` : '';
  note(`${count} jobs are kept by ${route.name}${journaled} (${seconds.toFixed(1)} s).`);
  return EXIT.done;
}

/** A bad line does not cost the good ones before it; a service that refuses is not asked again. */
async function keepGoodLines(send: () => Promise<void>, error: HoldfastError): Promise<void> {
  const isBadLine =
    error.code === 'HOLDFAST_INPUT_INVALID' || error.code === 'HOLDFAST_JOB_TOO_LARGE';
  if (!isBadLine) return;
  // Its own failure is less telling than the line that ended the stream.
  await send().catch(() => {});
}

function progressText(count: number, elapsedMs: number): string {
  const rate = Math.round((count / elapsedMs) * 1000);
  return `${count.toLocaleString('en')} jobs, ${rate.toLocaleString('en')}/s`;
}
