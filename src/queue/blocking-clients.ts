/**
 * The blocking connections: one for each Worker, made when it first waits, ended with their
 * generation or when a read on them is overdue.
 */
import type { Cluster, Redis } from 'ioredis';
import type { Generation } from './generation.ts';

export class BlockingClients {
  readonly #connect: () => Redis | Cluster;
  readonly #timeoutMs: number;
  readonly #onFailure: (error: unknown, generation: Generation) => void;
  /** Clients that we ended ourselves: their close is no failure. */
  readonly #ended = new WeakSet<Redis | Cluster>();
  /** By owner: a client lives with one generation only. */
  readonly #clients = new WeakMap<
    object,
    { generation: Generation; client: Promise<Redis | Cluster> }
  >();

  constructor(
    connect: () => Redis | Cluster,
    timeoutMs: number,
    onFailure: (error: unknown, generation: Generation) => void,
  ) {
    this.#connect = connect;
    this.#timeoutMs = timeoutMs;
    this.#onFailure = onFailure;
  }

  /** @throws the error of the connection, or of the deadline */
  async of(generation: Generation, owner: object): Promise<Redis | Cluster> {
    const present = this.#clients.get(owner);
    if (present?.generation === generation) return await present.client;
    const client = this.#open(generation);
    this.#clients.set(owner, { generation, client });
    try {
      return await client;
    } catch (error) {
      if (this.#clients.get(owner)?.client === client) this.#clients.delete(owner);
      throw error;
    }
  }

  drop(generation: Generation, owner: object): void {
    const present = this.#clients.get(owner);
    if (present?.generation !== generation) return;
    this.#clients.delete(owner);
    present.client.then(
      (client) => {
        this.#ended.add(client);
        generation.dropBlocking(client);
      },
      () => undefined,
    );
  }

  async #open(generation: Generation): Promise<Redis | Cluster> {
    const client = this.#connect();
    generation.addBlocking(client);
    let timer: NodeJS.Timeout | undefined;
    const connecting = client.connect();
    connecting.catch(() => undefined);
    try {
      await Promise.race([
        connecting,
        new Promise<never>((_resolve, reject) => {
          timer = setTimeout(
            () =>
              reject(
                Object.assign(new Error('no answer to a blocking connection'), {
                  code: 'ETIMEDOUT',
                }),
              ),
            this.#timeoutMs,
          );
        }),
      ]);
    } catch (error) {
      generation.dropBlocking(client);
      throw error;
    } finally {
      clearTimeout(timer);
    }
    client.on('close', () => {
      if (!this.#ended.has(client)) {
        this.#onFailure(new Error('Connection is closed.'), generation);
      }
    });
    return client;
  }
}
