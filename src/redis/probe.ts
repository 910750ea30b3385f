/**
 * The half-open breaker's probe: the real thing, not a PING. Connects, asks who is there, writes, and
 * does a blocking read; every step has a deadline of its own, since replies may vanish at any of them
 * (ioredis' own ready check would wait for ever). The connection that passes is kept and used.
 */
import type { Cluster, Redis } from 'ioredis';
import type { Clock } from '../time.ts';
import { parseIdentity, type ServerIdentity } from './identity.ts';
import { refusesTls, wantsTls } from './plain-speech.ts';
import { infoOf, timeOf } from './slot-owner.ts';

export interface ProbePassed {
  client: Redis | Cluster;
  identity: ServerIdentity;
  /** Server's wall clock (ms since the epoch) minus our monotonic clock (ms). */
  clockOffset: number;
  /** Milliseconds for the round trip of one TIME. */
  roundTripMs: number;
  /** When the server first answered, monotonic ms. */
  answeredAt: number;
}

export interface ProbeOptions {
  connect(): Redis | Cluster;
  clock: Clock;
  /** A key that only this process writes. In a Cluster its master is the server that is asked. */
  probeKey: string;
  /** Milliseconds that each step may take. */
  stepTimeoutMs: number;
  signal: AbortSignal;
  /** None has passed yet, so the address itself may be a mistake: one more look where that is likely. */
  isFirst?: boolean;
}

/** A step of the probe got no answer in time: EFROZEN when the server had accepted the connection. */
export class ProbeTimeout extends Error {
  readonly code: 'ETIMEDOUT' | 'EFROZEN';
  readonly step: string;
  constructor(step: string, timeoutMs: number, isAccepted: boolean) {
    super(`no answer to ${step} within ${timeoutMs} ms`);
    this.code = isAccepted ? 'EFROZEN' : 'ETIMEDOUT';
    this.step = step;
  }
}

/**
 * The connection that passes carries requests from then on. It is named only here: behind a name that
 * ioredis gives at connect, "max number of clients reached" would be the reply to the name, unread.
 */
const PASSED_NAME = 'holdfast:command';

/** @throws the error of the step that failed, or {@link ProbeTimeout}; the connection is closed then. */
export async function probe(options: ProbeOptions): Promise<ProbePassed> {
  const { clock, stepTimeoutMs, signal } = options;
  const client = options.connect();
  let lastError: unknown;
  const remember = (error: unknown) => {
    lastError = error;
  };
  client.on('error', remember);
  const step = async <T>(name: string, work: Promise<T>): Promise<T> => {
    work.catch(() => undefined);
    const timedOut = () => new ProbeTimeout(name, stepTimeoutMs, isAccepted(client));
    return await withDeadline(work, stepTimeoutMs, timedOut, signal);
  };
  const plain = refusesTls(client);
  const secure = wantsTls(client);
  try {
    await step('connect', Promise.race([client.connect(), plain.found]));
    const identity = parseIdentity(await step('INFO', infoOf(client, options.probeKey)));
    const before = clock.now();
    const serverMs = await step('TIME', timeOf(client, options.probeKey));
    const after = clock.now();
    await step('SET', client.set(options.probeKey, '1', 'PX', 10_000));
    // A dead blocking read behind a green PING is how workers fell silent for ever (bullmq#4585).
    await step('BZPOPMIN', client.bzpopmin(`${options.probeKey}:empty`, 0.01));
    client.off('error', remember);
    // Nothing depends on it; a server that refuses it (ACL) is as good.
    client.client('SETNAME', PASSED_NAME).catch(() => undefined);
    return {
      client,
      identity,
      clockOffset: serverMs - (before + after) / 2,
      roundTripMs: after - before,
      answeredAt: before,
    };
  } catch (error) {
    destroyClient(client);
    if (error instanceof ProbeTimeout || signal.aborted) throw error;
    // ioredis says "Connection is closed."; the reason came in an event before.
    const reason = lastError !== undefined && isClosed(error) ? lastError : error;
    throw (options.isFirst && isHangUp(reason) ? await secure.found() : undefined) ?? reason;
  } finally {
    plain.end();
  }
}

function isClosed(error: unknown): boolean {
  return error instanceof Error && error.message === 'Connection is closed.';
}

function isHangUp(error: unknown): boolean {
  return isClosed(error) || (error as { code?: unknown }).code === 'ECONNRESET';
}

/** Whether the peer's kernel has taken the connection, whatever its server does (handshake included). */
function isAccepted(client: Redis | Cluster): boolean {
  const { stream } = client as { stream?: { connecting?: boolean } };
  return stream !== undefined && stream.connecting === false;
}

async function withDeadline<T>(
  work: Promise<T>,
  timeoutMs: number,
  timedOut: () => Error,
  signal: AbortSignal,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let onAbort: (() => void) | undefined;
  try {
    return await Promise.race([
      work,
      new Promise<never>((_resolve, reject) => {
        timer = setTimeout(() => reject(timedOut()), timeoutMs);
        onAbort = () => reject(new Error('probe aborted'));
        signal.addEventListener('abort', onAbort, { once: true });
      }),
    ]);
  } finally {
    clearTimeout(timer);
    if (onAbort) signal.removeEventListener('abort', onAbort);
  }
}

/** Ends a client at once: no QUIT, no waiting for a peer that does not answer. */
export function destroyClient(client: Redis | Cluster): void {
  client.on('error', () => undefined);
  client.disconnect(false);
  const stream = (client as { stream?: { destroy(): void } }).stream;
  stream?.destroy();
}
