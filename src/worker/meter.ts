/** What the workers count, for whoever keeps metrics. Called for every job: must be quick. */
export interface JobMeter {
  /**
   * A run has ended, and that is recorded. `durationMs`: of the run; `waitMs`: until its first attempt
   * began; undefined where nobody knows.
   */
  ended(
    queue: string,
    outcome: string,
    durationMs: number | undefined,
    waitMs: number | undefined,
  ): void;
  /** The queue's Worker took nothing although jobs waited, and was rebuilt. */
  rebuilt(queue: string): void;
}

export const noMeter: JobMeter = { ended() {}, rebuilt() {} };
