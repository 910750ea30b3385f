/**
 * Writes the lines about outages, within the allowance of a minute. One line that was too many is
 * written later, unless a newer one comes before: the log must not end with what is no longer so.
 */
import type { Clock } from '../time.ts';
import { LineAllowance } from './lines.ts';

export interface OutageLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface Line {
  level: keyof OutageLog;
  fields: object;
  message: string;
}

export class Speaker {
  readonly #clock: Clock;
  readonly #log: OutageLog;
  readonly #allowance = new LineAllowance();
  /** The last line that was one too many. */
  #late: Line | undefined;
  #cancelLate: (() => void) | undefined;

  constructor(clock: Clock, log: OutageLog) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Writes a line if the allowance has one left, else later, unless a newer one comes before. */
  say(line: Line): void {
    this.stop();
    if (this.#allowance.take(this.#clock.now())) {
      this.#late = undefined;
      this.#write(line, this.#allowance.unsaid());
      return;
    }
    this.#late = line;
    this.#sayLate();
  }

  /** What is late is not written any more. */
  stop(): void {
    this.#cancelLate?.();
  }

  #sayLate(): void {
    const clock = this.#clock;
    this.#cancelLate = clock.after(this.#allowance.freeAt() - clock.now(), () => {
      const late = this.#late;
      if (!late) return;
      // Timers fire a little early.
      if (clock.now() < this.#allowance.freeAt()) return this.#sayLate();
      this.#allowance.take(clock.now());
      this.#late = undefined;
      this.#write(late, this.#allowance.unsaid() - 1);
    });
  }

  #write({ level, fields, message }: Line, leftOut: number): void {
    this.#log[level](leftOut > 0 ? { ...fields, linesLeftOut: leftOut } : fields, message);
  }
}
