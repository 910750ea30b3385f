/**
 * The doctor's one connection to Redis: every question has a deadline, and what ends it can be named as
 * a condition. Sends nothing by itself and is never reconnected.
 */
import type { Cluster, Redis } from 'ioredis';
import { createRedisClient, type RedisClient } from '../redis/connect.ts';
import { destroyClient, ProbeTimeout } from '../redis/probe.ts';
import type { Clock } from '../time.ts';
import type { Target } from './target.ts';

const ASK_MS = 3000;
/** More masters of a Cluster than this no report shows. */
const SERVERS_MAX = 16;

export interface Server {
  /** Empty when there is only one. */
  label: string;
  client: Redis;
}

export class Link {
  readonly client: RedisClient;
  #lastError: unknown;
  readonly #leftOut = new Set<string>();

  constructor(target: Target) {
    this.client = createRedisClient(target.redis, 'probe', {
      name: 'doctor',
      // A refusal is an answer here: nothing is to be dialled again for it, nor beside it.
      overrides: { reconnectOnError: () => false, failoverDetector: false },
      onError: (error) => {
        this.#lastError = error;
      },
    });
    this.client.on('error', (error) => {
      this.#lastError = error;
    });
  }

  /** @throws the reason for which it does not come about */
  async open(timeoutMs: number): Promise<void> {
    await this.ask('connect', this.client.connect() as Promise<unknown>, timeoutMs);
    await this.ask('PING', this.client.ping() as Promise<unknown>, timeoutMs);
  }

  /** How long until an answer to PING, ms; a refusal (MISCONF, MASTERDOWN) is one too. */
  async roundTrip(client: Redis, clock: Clock): Promise<number> {
    const from = clock.now();
    await this.ask('PING', client.ping()).catch((error: unknown) => {
      if (!isReply(error)) throw error;
    });
    return clock.now() - from;
  }

  /** The answer. @throws the server's error, or what ended the connection, or a {@link ProbeTimeout} */
  async ask<T>(what: string, answer: Promise<T>, timeoutMs = ASK_MS): Promise<T> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => reject(new ProbeTimeout(what, timeoutMs, this.client.status !== 'connecting')),
      timeoutMs,
    );
    answer.catch(() => undefined);
    try {
      return await Promise.race([answer, late]);
    } catch (error) {
      // ioredis says "Connection is closed."; the reason came in an event before.
      throw isClosed(error) && this.#lastError !== undefined ? this.#lastError : error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** A master of a Cluster that does not answer is asked no more. */
  leaveOut(label: string): void {
    this.#leftOut.add(label);
  }

  /** The servers that hold the data: the one, or the masters of a Cluster. */
  servers(): Server[] {
    if (!('nodes' in this.client)) return [{ label: '', client: this.client as Redis }];
    return (this.client as Cluster)
      .nodes('master')
      .slice(0, SERVERS_MAX)
      .map((client) => ({
        label: `${client.options.host}:${client.options.port}`,
        client: client as Redis,
      }))
      .filter(({ label }) => !this.#leftOut.has(label));
  }

  /** Where the connection leads: the master that the Sentinels named. */
  peer(): string | undefined {
    const { stream } = this.client as { stream?: { remoteAddress?: string; remotePort?: number } };
    return stream?.remoteAddress === undefined
      ? undefined
      : `${stream.remoteAddress}:${stream.remotePort}`;
  }

  close(): void {
    destroyClient(this.client);
  }
}

function isClosed(error: unknown): boolean {
  return error instanceof Error && error.message === 'Connection is closed.';
}

/** The server itself has spoken; anything else ended the connection. */
export function isReply(error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError';
}

/** Managed offers and ACLs take single commands away: that is no fault of the server. */
export function isNotAllowed(error: unknown): boolean {
  return (
    error instanceof Error &&
    /^NOPERM|unknown (sub)?command|not (allowed|supported|permitted)|is disabled|ERR command is not/i.test(
      error.message,
    )
  );
}
