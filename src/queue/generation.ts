/**
 * One life of the connections to Redis: from a passed probe to the next outage. Connections are never
 * mended: when an outage begins all of them are destroyed, which settles every request that was under
 * way, and the next passed probe begins a new generation. So no request is ever sent twice by a
 * library behind our back, and none waits for a reply that cannot come.
 */
import type { Socket } from 'node:net';
import { createIORedisClient, type IRedisClient } from 'bullmq';
import type { Cluster, Redis } from 'ioredis';
import { destroyClient } from '../redis/probe.ts';
import { timeOf } from '../redis/slot-owner.ts';
import type { Clock } from '../time.ts';
import { defineScripts, scriptOf } from './fenced-scripts.ts';
import { runScript } from './script-command.ts';

/**
 * Commands that share a write. Measured with 100 adds under way: 1 gives 0.87 of plain BullMQ's rate, 8
 * gives 1.0 to 1.1, all of a turn 0.7, since Redis then waits while they are made.
 */
const GATHER = 8;
/** Below this the clocks are as good as equal, ms: networks and NTP account for less. */
const SKEW_MS = 2000;

export class Generation {
  readonly client: Redis | Cluster;
  /** The same client behind BullMQ's adapter, with all scripts defined. */
  readonly adapted: IRedisClient;
  readonly #clock: Clock;
  readonly #blocking = new Set<Redis | Cluster>();
  /** Rejects what a Cluster client would leave open. */
  readonly #pending = new Set<(error: Error) => void>();
  readonly #clockKey: string;
  #clockOffset: number;
  #alive = true;
  /** Commands of this turn. */
  #gathered = 0;

  /** `clockKey`: in a Cluster the server that has it is asked for its clock. */
  constructor(client: Redis | Cluster, clockOffset: number, clock: Clock, clockKey = '') {
    this.client = client;
    this.#clock = clock;
    this.#clockOffset = clockOffset;
    this.#clockKey = clockKey;
    defineScripts(client);
    this.adapted = createIORedisClient(client as never) as unknown as IRedisClient;
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** The server's wall clock now, ms since the epoch, as far as we know. */
  serverNow(): number {
    return this.#clock.now() + this.#clockOffset;
  }

  /** Sends a script by its name of BullMQ's or ours, past the adapter: this runs for every command. */
  script(name: string, args: readonly unknown[]): Promise<unknown> {
    this.#gather();
    const reply = runScript(this.client, scriptOf(name), args);
    return this.client.isCluster ? this.#untilEnd(reply) : reply;
  }

  /**
   * Commands of one turn of the event loop share a write to the socket: each write costs more than
   * making the command. A few only, so that Redis works on the first while the next are made.
   */
  #gather(): void {
    const { stream } = this.client as unknown as { stream?: Socket };
    if (!stream) return;
    if (this.#gathered === 0) {
      stream.cork();
      process.nextTick(() => {
        this.#gathered = 0;
        stream.uncork();
      });
    } else if (this.#gathered % GATHER === 0) {
      stream.uncork();
      stream.cork();
    }
    this.#gathered += 1;
  }

  /** A Cluster client that was ended keeps requests that wait for a redirect, and never answers them. */
  #untilEnd<T>(reply: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#pending.add(reject);
      reply.then(resolve, reject).finally(() => this.#pending.delete(reject));
    });
  }

  /** Asks the server for its wall clock, ms since the epoch. */
  async serverTime(): Promise<number> {
    const reply = timeOf(this.client, this.#clockKey);
    return await (this.client.isCluster ? this.#untilEnd(reply) : reply);
  }

  /** Elements of a list, both ends included. */
  async range(key: string, from: number, to: number): Promise<string[]> {
    const reply = this.client.lrange(key, from, to);
    return await (this.client.isCluster ? this.#untilEnd(reply) : reply);
  }

  setClockOffset(offset: number): void {
    this.#clockOffset = offset;
  }

  /** Whether this host's wall clock is far from the server's; asked each time, as clocks jump between pulses. */
  get isSkewed(): boolean {
    return Math.abs(this.#clock.wall() - this.serverNow()) > SKEW_MS;
  }

  addBlocking(client: Redis | Cluster): void {
    if (!this.#alive) {
      destroyClient(client);
      return;
    }
    this.#blocking.add(client);
  }

  dropBlocking(client: Redis | Cluster): void {
    this.#blocking.delete(client);
    destroyClient(client);
  }

  /** Ends all connections; every request under way is rejected. Idempotent. */
  destroy(): void {
    if (!this.#alive) return;
    this.#alive = false;
    destroyClient(this.client);
    for (const client of this.#blocking) destroyClient(client);
    this.#blocking.clear();
    for (const reject of this.#pending) reject(new Error('Connection is closed.'));
    this.#pending.clear();
  }
}
