/**
 * One more look while a connection is silent: a new connection tells a frozen server (accepted, no
 * answer) from a dead connection (a new one is answered) and from a way that is cut (not accepted).
 */
import type { Cluster, Redis } from 'ioredis';
import { destroyClient } from '../redis/probe.ts';

export class Scout {
  readonly #client: Redis | Cluster;
  #answer: 'none' | 'answered' | { error: unknown } = 'none';
  /** Told of the first thing that comes, if it is waited for. */
  #onHeard: (() => void) | undefined;

  /** `connect` gives a client that has not connected yet. */
  constructor(connect: () => Redis | Cluster) {
    this.#client = connect();
    this.#client.on('error', () => undefined);
    this.#client.on('connect', () => {
      const { stream } = this.#client as { stream?: NodeJS.EventEmitter };
      stream?.once('data', () => this.#onHeard?.());
    });
    this.#client
      .connect()
      .then(() => this.#client.ping())
      .then(
        () => {
          this.#answer = 'answered';
        },
        (error: unknown) => {
          this.#answer = { error };
        },
      );
  }

  /** What the silence of `silentMs` means, as an error with a code; the look goes on if that is nothing yet. */
  finding(silentMs: number): unknown {
    const answer = this.#answer;
    const { stream } = this.#client as { stream?: { connecting?: boolean } };
    const isCut = !this.#client.isCluster && stream?.connecting === true;
    if (isCut || answer !== 'none') this.end();
    if (typeof answer === 'object') return answer.error;
    const text = `no answer to a pulse for ${Math.round(silentMs)} ms`;
    if (answer === 'answered') {
      return Object.assign(new Error(`${text}; a new connection is answered`), {
        code: 'EBLOCKED',
      });
    }
    if (isCut) {
      const error = new Error(`${text}; a new connection is not accepted`);
      return Object.assign(error, { code: 'ETIMEDOUT' });
    }
    return Object.assign(new Error(text), { code: 'EFROZEN' });
  }

  /** Hears of an answer that comes after the finding: the server is not frozen, only slow. */
  listen(onHeard: () => void): void {
    this.#onHeard = () => {
      this.end();
      onHeard();
    };
  }

  /** Idempotent. */
  end(): void {
    this.#onHeard = undefined;
    destroyClient(this.#client);
  }
}
