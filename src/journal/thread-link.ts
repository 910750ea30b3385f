/**
 * The caller's end of the journal's thread: sends requests, gives each reply or its absence back as
 * a promise with a deadline, and turns faults into errors. Knows nothing of what is asked.
 */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { JournalError } from '../errors.ts';
import type { Clock } from '../time.ts';
import { ADOPTION_MS_MAX } from './adoption-mark.ts';
import { toError } from './fault.ts';
import type { Reinstatement } from './reinstate.ts';
import type { DamageReport } from './rescue.ts';
import type {
  Operation,
  Operations,
  Reply,
  Request,
  Snapshot,
  ThreadOptions,
} from './thread-protocol.ts';

/** What the link needs of a thread. */
export interface Thread {
  postMessage(request: Request): void;
  terminate(): Promise<unknown>;
  on(event: 'message', listener: (reply: Reply) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'exit', listener: () => void): unknown;
  off(event: 'message', listener: (reply: Reply) => void): unknown;
  off(event: 'error', listener: (error: Error) => void): unknown;
  off(event: 'exit', listener: () => void): unknown;
}

export type StartThread = (options: ThreadOptions) => Thread;

export interface ThreadLinkOptions extends ThreadOptions {
  /** The folder, for errors. */
  path: string;
  clock: Clock;
  /** Default deadline of a request, ms. */
  replyMs: number;
  /** Another replica takes the folder over, and the opening waits for it. */
  onWaiting(): void;
  onDamage(damage: DamageReport): void;
  onReinstated(what: Reinstatement): void;
}

export type Opening = Extract<Reply, { type: 'opened' }>;

interface Waiting {
  id: number;
  /** Undefined once the deadline has passed: then only `onLate` is still interested. */
  settle: { resolve(value: unknown): void; reject(error: Error): void } | undefined;
  cancelDeadline(): void;
  onLate: ((value: unknown) => void) | undefined;
}

/** Beyond the wait for the folder: a journal of 100,000 entries opens in under a second here. */
const OPEN_MS = 60_000;

const TERMINATE_MS = 1_000;

/**
 * Of the thread's heap what is short-lived, MiB: a commit's entries, some MiB at most. By itself V8 lets it grow to
 * six times that in minutes of steady work, and a producer in an outage with it.
 */
const THREAD_YOUNG_MIB = 16;

export class ThreadLink {
  /** The journal's own id. */
  id: string;
  /** What the store held after the last reply. */
  snapshot: Snapshot;
  /** How long the last write took, ms. */
  commitMs: number | undefined;
  /** Set while a request is past its deadline and nothing has come back since: the disk hangs. */
  silence: JournalError | undefined;
  readonly #options: ThreadLinkOptions;
  readonly #thread: Thread;
  /**
   * A few, in the order of asking, which is that of the replies. No Map: one that is added to and taken from all the
   * time leaves a chain of tables behind, which keeps what they held from the young generation's collector.
   */
  readonly #waiting: Waiting[] = [];
  #lastId = 0;
  #ended: JournalError | undefined;

  static async start(
    options: ThreadLinkOptions,
    startThread: StartThread = startWorker,
  ): Promise<{ link: ThreadLink; opening: Opening }> {
    const { base, replica, ownWaitMs } = options;
    const thread = startThread({ base, replica, ownWaitMs });
    const opening = await firstReply(thread, options);
    return { link: new ThreadLink(options, thread, opening), opening };
  }

  private constructor(options: ThreadLinkOptions, thread: Thread, opening: Opening) {
    this.#options = options;
    this.#thread = thread;
    this.id = opening.id;
    this.snapshot = opening.snapshot;
    thread.on('message', (reply: Reply) => this.#onReply(reply));
    thread.on('error', (error: Error) => this.#end(error));
    thread.on('exit', () => this.#end(undefined));
  }

  /**
   * @param onLate called with the value if the reply comes after the deadline
   * @throws JournalError after the deadline, or when the thread has ended
   */
  ask<Name extends Operation>(
    name: Name,
    args: Parameters<Operations[Name]>,
    onLate?: (value: ReturnType<Operations[Name]>) => void,
    withinMs = this.#options.replyMs,
  ): Promise<ReturnType<Operations[Name]>> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const id = ++this.#lastId;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const waiting: Waiting = {
      id,
      settle: { resolve, reject },
      cancelDeadline: this.#options.clock.after(withinMs, () => {
        waiting.settle = undefined;
        this.silence = this.#silenceError(withinMs);
        reject(this.silence);
      }),
      onLate: onLate as Waiting['onLate'],
    };
    this.#waiting.push(waiting);
    const request: Request<Name> = { id, name, args };
    this.#thread.postMessage(request);
    return promise as Promise<ReturnType<Operations[Name]>>;
  }

  /** Ends the thread; one that hangs in a system call is left to the end of the process. */
  async terminate(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#options.clock.after(TERMINATE_MS, resolve);
    await Promise.race([this.#thread.terminate(), promise]);
    cancel();
  }

  #silenceError(afterMs: number): JournalError {
    return new JournalError(
      this.#options.path,
      `did not answer within ${afterMs} ms: its disk hangs`,
      'Look at the disk (I/O errors, a full queue, a detached volume).',
    );
  }

  #onReply(reply: Reply): void {
    if (reply.type === 'damaged') {
      this.id = reply.id;
      this.#options.onDamage(reply.damage);
    }
    if (reply.type === 'reinstated') this.#options.onReinstated(reply);
    if (reply.type !== 'done' && reply.type !== 'failed') return;
    const at = this.#waiting.findIndex(({ id }) => id === reply.id);
    const [waiting] = this.#waiting.splice(at, at < 0 ? 0 : 1);
    if (waiting === undefined) return;
    waiting.cancelDeadline();
    this.snapshot = reply.snapshot;
    this.silence = undefined;
    if (reply.type === 'failed') {
      waiting.settle?.reject(toError(reply.fault));
      return;
    }
    this.commitMs = reply.tookMs;
    if (waiting.settle === undefined) waiting.onLate?.(reply.value);
    else waiting.settle.resolve(reply.value);
  }

  #end(cause: unknown): void {
    this.#ended ??= new JournalError(
      this.#options.path,
      'has no thread any more',
      'Start the replica again; its entries are on disk and are replayed then.',
      cause,
    );
    for (const waiting of this.#waiting.splice(0)) {
      waiting.cancelDeadline();
      waiting.settle?.reject(this.#ended);
    }
  }
}

function startWorker(options: ThreadOptions): Thread {
  // Sources run as they are in development; the build has .js files.
  const file = `./journal-thread${extname(import.meta.url)}`;
  return new Worker(new URL(file, import.meta.url), {
    workerData: options,
    name: 'journal',
    execArgv: [],
    resourceLimits: { maxYoungGenerationSizeMb: THREAD_YOUNG_MIB },
  });
}

function firstReply(thread: Thread, options: ThreadLinkOptions): Promise<Opening> {
  const { promise, resolve, reject } = Promise.withResolvers<Opening>();
  const fail = (what: string, cause?: unknown) => {
    reject(new JournalError(options.path, what, 'Look at the disk and at the cause.', cause));
    // The thread may hang in a system call: nobody waits for its end.
    void thread.terminate();
  };
  const within = (ms: number) =>
    options.clock.after(ms, () => fail(`did not open within ${ms} ms`));
  let cancel = within(OPEN_MS + options.ownWaitMs);
  const onError = (error: Error) => fail('could not be opened', error);
  const onExit = () => fail('could not be opened: its thread ended');
  const onMessage = (reply: Reply) => {
    if (reply.type === 'waiting') {
      cancel();
      cancel = within(OPEN_MS + options.ownWaitMs + ADOPTION_MS_MAX);
      options.onWaiting();
    }
    if (reply.type === 'opened') resolve(reply);
    if (reply.type === 'not-opened') reject(toError(reply.fault));
  };
  thread.on('message', onMessage);
  thread.on('error', onError);
  thread.on('exit', onExit);
  return promise.finally(() => {
    cancel();
    thread.off('message', onMessage);
    thread.off('error', onError);
    thread.off('exit', onExit);
  });
}
