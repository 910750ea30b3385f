/**
 * The journal over a disk whose every answer the test gives: what is asked while something hangs is served
 * later, in order, and what a caller was told in the meantime has to stay true.
 */
import { EventEmitter } from 'node:events';
import { expect, it } from 'vitest';
import { JournalError } from '../../src/errors.ts';
import { openDiskJournal } from '../../src/journal/disk-journal.ts';
import type { Journal, JournalOptions } from '../../src/journal/journal.ts';
import { openStore, type Store } from '../../src/journal/store.ts';
import type { Thread } from '../../src/journal/thread-link.ts';
import type { Request, ThreadOptions } from '../../src/journal/thread-protocol.ts';
import { TimelyAppend } from '../../src/queue/timely-append.ts';
import { systemClock } from '../../src/time.ts';
import { jobNumber } from '../support/journal-entries.ts';
import { journalFolder, type LogLine, logInto } from '../support/journal-folder.ts';

/** Production's store, serving as long as it does not hang. */
class HangingThread extends EventEmitter implements Thread {
  isHanging = false;
  /** The next removal fails. */
  isFailing = false;
  readonly #store: Store;
  readonly #requests: Request[] = [];

  constructor(options: ThreadOptions) {
    super();
    this.#store = openStore(options, systemClock, (reply) => {
      setImmediate(() => this.emit('message', reply));
    })!;
  }

  get waiting(): number {
    return this.#requests.length;
  }

  postMessage(request: Request): void {
    this.#requests.push(request);
    if (!this.isHanging) this.goOn();
  }

  goOn(): void {
    this.isHanging = false;
    for (const request of this.#requests.splice(0)) {
      if (request.name === 'remove' && this.isFailing) {
        this.isFailing = false;
        this.#store.serve({ ...request, args: undefined as never });
      } else this.#store.serve(request);
    }
  }

  /** Serves one that waits, and hangs on. */
  serveOne(): void {
    this.#store.serve(this.#requests.shift()!);
  }

  async terminate(): Promise<void> {}
}

interface Place {
  journal: Journal;
  thread: HangingThread;
  lines: LogLine[];
}

async function place(options: Partial<JournalOptions> = {}): Promise<Place> {
  let thread: HangingThread | undefined;
  const lines: LogLine[] = [];
  const journal = await openDiskJournal(
    {
      dir: await journalFolder(),
      replica: 'one',
      mode: 'disk',
      bytesMax: 1e6,
      entriesMax: 100,
      clock: systemClock,
      log: logInto(lines),
      ownWaitMs: 0,
      ...options,
    },
    (threadOptions) => {
      thread = new HangingThread(threadOptions);
      return thread;
    },
  );
  return { journal, thread: thread!, lines };
}

async function idsIn(journal: Journal): Promise<string[]> {
  const ids: string[] = [];
  for await (const { jobId } of journal.jobs()) ids.push(jobId);
  return ids;
}

it('gives no reader an entry that was refused for its lateness, also when the reading was asked for before it was written', async () => {
  const { journal, thread } = await place();
  const timely = new TimelyAppend({ clock: systemClock, enqueueTimeoutMs: 100 }, journal);
  thread.isHanging = true;
  const late = timely.append(jobNumber(1), systemClock.now());
  await expect(late).rejects.toThrow(JournalError);
  const reading = idsIn(journal);
  const looking = journal.find('mail', 'job-1');
  thread.goOn();
  expect(await reading).toEqual([]);
  expect(await looking).toBeUndefined();
  await expect.poll(() => journal.stats().jobs).toBe(0);
  await journal.close();
});

it('gives no reader an entry that the disk wrote after its own deadline', async () => {
  const { journal, thread } = await place({ replyMs: 50 });
  thread.isHanging = true;
  await expect(journal.append(jobNumber(1))).rejects.toThrow('did not answer within 50 ms');
  const reading = idsIn(journal);
  thread.goOn();
  expect(await reading).toEqual([]);
  await journal.close();
});

it('finds the job that was added again under its id behind one that was refused for its lateness', async () => {
  const { journal, thread } = await place();
  const timely = new TimelyAppend({ clock: systemClock, enqueueTimeoutMs: 100 }, journal);
  thread.isHanging = true;
  await expect(timely.append(jobNumber(1), systemClock.now())).rejects.toThrow(JournalError);
  const again = journal.append(jobNumber(1));
  const looking = again.then(() => journal.find('mail', 'job-1'));
  thread.goOn();
  expect((await looking)?.position).toBe(await again);
  await journal.close();
});

it('removes with the next what could not be removed, and gives it to no reader until then', async () => {
  const { journal, thread } = await place();
  const [first, second] = await journal.appendAll([jobNumber(1), jobNumber(2)]);
  thread.isFailing = true;
  await expect(journal.settle([first!])).rejects.toThrow();
  expect(await idsIn(journal)).toEqual(['job-2']);
  await journal.settle([second!]);
  expect(journal.stats()).toMatchObject({ jobs: 0, bytes: 0 });
  await journal.close();
});

it('gives no reader a part of what is appended together, and all of it once it is complete', async () => {
  const { journal, thread } = await place({ sizes: { commitEntries: 1, eagerEntries: 1 } });
  const alone = await journal.append(jobNumber(1));
  thread.isHanging = true;
  const together = journal.appendAll([jobNumber(2), jobNumber(3), jobNumber(4)]);
  // Asked for when two of the three are on their way to the disk.
  const reading = idsIn(journal);
  await expect.poll(() => thread.waiting).toBe(4);
  thread.serveOne();
  thread.serveOne();
  thread.serveOne();
  expect(await reading).toEqual(['job-1']);
  thread.goOn();
  const positions = await together;
  expect(await idsIn(journal)).toEqual(['job-1', 'job-2', 'job-3', 'job-4']);
  expect(positions).toEqual([alone + 1, alone + 2, alone + 3]);
  await journal.close();
});
