/**
 * The breaker of what a handler calls: after so many failed attempts in a row its queue is not fetched for
 * a while, so that no attempt is burnt on a service that is down; then one job is tried. Other queues go
 * on. Knows nothing of Redis, whose breaker is another one.
 */
import type { Clock } from '../time.ts';

export interface DownstreamBreakerOptions {
  clock: Clock;
  /** Failed attempts in a row that open it. */
  failures: number;
  openForMs: number;
  /** Jobs that may run here now; undefined: as many as there are slots. */
  limit(slots: number | undefined): void;
  /** It opened after it was closed, or closed after it was open. */
  onChange(state: 'open' | 'closed'): void;
}

export class DownstreamBreaker {
  readonly #options: DownstreamBreakerOptions;
  #state: 'closed' | 'open' | 'half-open' = 'closed';
  #failures = 0;
  #cancel: (() => void) | undefined;

  constructor(options: DownstreamBreakerOptions) {
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  /** One job is tried, and no other until it has ended. */
  get isHalfOpen(): boolean {
    return this.#state === 'half-open';
  }

  /** A run ended well, or failed in a way that its service may be to blame for. */
  ended(isFailure: boolean): void {
    // Runs that began before it opened say nothing new.
    if (this.#state === 'open') return;
    if (!isFailure) {
      this.#failures = 0;
      if (this.#state === 'half-open') this.#close();
      return;
    }
    this.#failures += 1;
    if (this.#state === 'half-open' || this.#failures >= this.#options.failures) this.#open();
  }

  /** No timer is left. */
  stop(): void {
    this.#cancel?.();
  }

  #open(): void {
    const { clock, openForMs, limit, onChange } = this.#options;
    const wasClosed = this.#state === 'closed';
    this.#state = 'open';
    limit(0);
    if (wasClosed) onChange('open');
    this.#cancel = clock.after(openForMs, () => {
      this.#state = 'half-open';
      limit(1);
    });
  }

  #close(): void {
    const { limit, onChange } = this.#options;
    this.#state = 'closed';
    limit(undefined);
    onChange('closed');
  }
}
