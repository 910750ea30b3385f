/**
 * The pulse: a real command on the command connection when it was silent for a short interval. Only a
 * missed pulse sees a frozen server or a half-open socket, which raise no event: at the latest
 * `intervalMs + timeoutMs` after the last byte: 0.35 s + 2 s by default while jobs run, 0.7 s + 2 s = 2.7 s on
 * an idle replica, which pays for each pulse.
 *
 * Our own blocked event loop, or a SIGSTOP of ours, looks the same from inside: timers run before
 * sockets are read. So a pulse counts as missed only after what has already arrived was read, and a
 * loop that was late gets the time that it did not have.
 */
import { setImmediate as nextPoll } from 'node:timers/promises';
import type { Clock, Instant } from '../time.ts';

export interface PulseOptions {
  clock: Clock;
  /** Silence after which it is asked, ms; read anew for each pulse. */
  intervalMs(): number;
  /** Least time that an answer may take, ms; measured round trips may raise it. */
  timeoutMs: number;
  /** One round trip; resolves with the server's wall clock, ms since the epoch. */
  ask(): Promise<number>;
  /** Monotonic instant by which it is asked whatever was heard meanwhile; absent: every 5 s. */
  askBy?(): Instant;
  /** When anything last came from the server on the connection, monotonic ms: as good as a pulse. */
  heardAt(): number;
  onAnswer(answer: { clockOffset: number; roundTripMs: number }): void;
  /** Half the time has passed without an answer. */
  onDoubt?(): void;
  onMissed(silentMs: number): void;
  onError(error: unknown): void;
  /** Our own event loop stood still for this long. */
  onLoopBlocked(blockedMs: number): void;
}

/** A loop that is later than this was blocked, ms. Garbage collection stays well below. */
export const LOOP_BLOCKED_MS = 1000;
/** The server's clock is asked for at least so often, ms, however much else it answers. */
const CLOCK_EVERY_MS = 5000;
/** Slices in which a pulse waits, so that a blocked loop is told from a silent server. */
const SLICE_MS = 100;
/** An answer may take this many times the usual round trip: 2 s of latency is not an outage. */
const PATIENCE_FACTOR = 3;

export class Pulse {
  readonly #options: PulseOptions;
  #stopped = false;
  #cancel: (() => void) | undefined;
  #usualMs = 0;
  #answeredAt: Instant = 0;
  #askedAt: Instant = 0;

  constructor(options: PulseOptions, usualRoundTripMs = 0) {
    this.#options = options;
    this.#usualMs = usualRoundTripMs;
  }

  start(): void {
    this.#answeredAt = this.#askedAt = this.#options.clock.now();
    this.#next();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  /** Milliseconds that an answer may take now. */
  get timeoutMs(): number {
    return Math.max(this.#options.timeoutMs, this.#usualMs * PATIENCE_FACTOR);
  }

  /** The next pulse comes when nothing was heard for an interval. */
  #next(): void {
    if (this.#stopped) return;
    const { clock, intervalMs, heardAt, onLoopBlocked } = this.#options;
    const askBy = this.#options.askBy?.() ?? this.#askedAt + CLOCK_EVERY_MS;
    const lastHeardAt = Math.max(this.#answeredAt, heardAt());
    const now = clock.now();
    const due = Math.max(now, Math.min(lastHeardAt + intervalMs(), askBy));
    this.#cancel = clock.after(due - now, () => {
      const late = clock.now() - due;
      if (late > LOOP_BLOCKED_MS) onLoopBlocked(late);
      if (heardAt() > lastHeardAt && clock.now() < askBy) this.#next();
      else void this.#beat();
    });
  }

  async #beat(): Promise<void> {
    const { clock, ask, onAnswer, onMissed, onError } = this.#options;
    const sentAt = clock.now();
    this.#askedAt = sentAt;
    let settled = false;
    const reply = ask().then(
      (serverMs) => {
        settled = true;
        if (this.#stopped) return;
        const now = clock.now();
        const roundTripMs = now - sentAt;
        this.#answeredAt = now;
        // A slow answer raises patience at once, calm lowers it slowly.
        this.#usualMs =
          roundTripMs > this.#usualMs ? roundTripMs : this.#usualMs * 0.9 + roundTripMs * 0.1;
        onAnswer({ clockOffset: serverMs - (sentAt + now) / 2, roundTripMs });
      },
      (error: unknown) => {
        settled = true;
        if (!this.#stopped) onError(error);
      },
    );
    const silent = await this.#waitFor(reply, () => settled);
    if (this.#stopped) return;
    if (!settled) {
      this.stop();
      onMissed(silent);
      return;
    }
    this.#next();
  }

  /** Waits for the reply; counts only time in which our loop ran. Returns the ms of true silence. */
  async #waitFor(reply: Promise<void>, settled: () => boolean): Promise<number> {
    const { clock, onLoopBlocked } = this.#options;
    let silentMs = 0;
    while (!settled() && !this.#stopped && silentMs < this.timeoutMs) {
      const before = clock.now();
      // A millisecond at least: what a clock cannot count to would never pass.
      const slice = Math.max(1, Math.min(SLICE_MS, this.timeoutMs - silentMs));
      await Promise.race([reply, this.#delay(slice)]);
      if (settled() || this.#stopped) break;
      // Told before anything is read: then the job that did it is still known as in flight.
      const blockedMs = clock.now() - before;
      if (blockedMs > LOOP_BLOCKED_MS) onLoopBlocked(blockedMs);
      await nextPoll();
      await nextPoll();
      const passed = clock.now() - before;
      const silentBefore = silentMs;
      silentMs += Math.min(passed, 2 * SLICE_MS);
      const half = this.timeoutMs / 2;
      if (silentBefore < half && silentMs >= half && !settled() && !this.#stopped) {
        this.#options.onDoubt?.();
      }
    }
    return silentMs;
  }

  #delay(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#cancel = this.#options.clock.after(ms, resolve);
    });
  }
}
