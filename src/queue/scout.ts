/**
 * One more look while a connection is silent: a new connection tells a frozen server (accepted, no
 * answer) from a dead connection (a new one is answered) and from a way that is cut (not accepted).
 */
import type { Cluster, Redis } from 'ioredis';
import { destroyClient } from '../redis/probe.ts';

export class Scout {
  readonly #client: Redis | Cluster;
  #answer: 'none' | 'answered' | { error: unknown } = 'none';

  /** `connect` gives a client that has not connected yet. */
  constructor(connect: () => Redis | Cluster) {
    this.#client = connect();
    this.#client.on('error', () => undefined);
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

  /** What the silence of `silentMs` means, as an error with a code; ends the look. */
  finding(silentMs: number): unknown {
    const answer = this.#answer;
    const { stream } = this.#client as { stream?: { connecting?: boolean } };
    const isCut = !this.#client.isCluster && stream?.connecting === true;
    this.end();
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

  end(): void {
    destroyClient(this.#client);
  }
}
