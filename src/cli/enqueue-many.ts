/**
 * Many jobs from one stream, in batches: bounded memory, a progress line, and on a mistake or an
 * outage the exact line up to which everything is kept.
 */
import { setImmediate } from 'node:timers/promises';
import { HoldfastError, OutcomeUnknownError } from '../errors.ts';
import { BATCH_JOBS_MAX, type JobInput } from '../http/job-input.ts';
import type { Accepted } from '../queue/client.ts';
import { BatchError } from './batch-error.ts';
import { EXIT } from './exit-codes.ts';
import { Interruption } from './interruption.ts';
import type { JobSource, SourceValue } from './job-source.ts';
import { jobsAreKept, KeptLines, type SentLine } from './kept-lines.ts';
import { ShareProgress } from './progress.ts';
import type { Route } from './route.ts';
import { assertPrinted, note, print } from './terminal.ts';

/** Well under the service's body limit, so that a batch is never refused for its size alone. */
const BATCH_BYTES_MAX = 2 * 1024 * 1024;

/** A batch that is not full goes when its first job has waited so long: whoever writes may pause for hours, ms. */
const PAUSE_MS = 250;

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
  const kept = new KeptLines(input.name, queue);
  let inJournal = 0;
  let batch = new Batch();

  const show = (accepted: readonly Accepted[]): void => {
    // Ids and progress share the screen only when nobody redirects the ids.
    if (process.stdout.isTTY) progress.clear();
    for (const { id, stored } of accepted) {
      if (stored === 'journal') inJournal++;
      print(options.json ? JSON.stringify({ id, queue, stored }) : id);
    }
    progress.show(progressText(kept.count, performance.now() - began), input.fractionRead());
  };
  const send = async (): Promise<void> => {
    if (batch.jobs.length === 0) return;
    const { jobs, lines } = batch;
    batch.end();
    batch = new Batch();
    try {
      const accepted = await route.enqueue(queue, jobs, options.unknown ?? false);
      kept.keep(lines);
      show(accepted);
    } catch (error) {
      const { accepted, unknown, reason } = partOf(error);
      kept.keepPart(lines, new Set(accepted.map(({ id }) => id)), new Set(unknown));
      show(accepted);
      throw reason;
    }
    // More jobs whose ids nobody will ever see are not what was asked for. A file's error comes a turn later.
    await setImmediate();
    assertPrinted();
  };

  using interruption = new Interruption(() => {
    progress.clear();
    note(`${kept}`);
  });

  try {
    for await (const value of withPauses(input.values, () => batch.pause)) {
      if (value === undefined) {
        await interruption.step(send);
        continue;
      }
      const job = jobOf(value);
      const bytes = Buffer.byteLength(JSON.stringify(job.data));
      if (batch.isFullWith(bytes)) await interruption.step(send);
      batch.push(job, value.line, bytes);
    }
    await interruption.step(send);
  } catch (error) {
    progress.clear();
    if (error instanceof HoldfastError) await keepGoodLines(send, error);
    note(`${kept}`);
    throw error;
  } finally {
    batch.end();
  }
  progress.clear();
  const seconds = (performance.now() - began) / 1000;
  const journaled =
    inJournal > 0 ? `, ${inJournal} of them in its journal: Redis is away or slow` : '';
  note(`${jobsAreKept(kept.count)} by ${route.name}${journaled} (${seconds.toFixed(1)} s).`);
  return EXIT.done;
}

class Batch {
  readonly jobs: JobInput[] = [];
  readonly lines: SentLine[] = [];
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Resolves when it has waited long enough; undefined while it is empty. */
  pause: Promise<undefined> | undefined;

  isFullWith(bytes: number): boolean {
    return this.jobs.length === BATCH_JOBS_MAX || this.#bytes + bytes > BATCH_BYTES_MAX;
  }

  push(job: JobInput, line: number, bytes: number): void {
    this.jobs.push(job);
    this.lines.push({ line, id: `${job.options.jobId}` });
    this.#bytes += bytes;
    this.pause ??= new Promise((resolve) => {
      this.#timer = setTimeout(resolve, PAUSE_MS, undefined);
    });
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

/** The values as they come; undefined each time that `pause` is over before the next. */
async function* withPauses(
  values: AsyncIterable<SourceValue>,
  pause: () => Promise<undefined> | undefined,
): AsyncGenerator<SourceValue | undefined> {
  const iterator = values[Symbol.asyncIterator]();
  for (;;) {
    const next = iterator.next();
    for (;;) {
      const first = await Promise.race([next, pause() ?? next]);
      if (first === undefined) yield undefined;
      else if (first.done) return;
      else {
        yield first.value;
        break;
      }
    }
  }
}

function partOf(error: unknown): {
  accepted: readonly Accepted[];
  unknown: readonly string[];
  reason: unknown;
} {
  if (error instanceof BatchError) {
    return { accepted: error.kept, unknown: error.unknown, reason: error.reason };
  }
  const unknown = error instanceof OutcomeUnknownError ? (error.data.jobIds as string[]) : [];
  return { accepted: [], unknown, reason: error };
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
