/**
 * The contract of everything in the service that has a life. The composition root starts parts in
 * order and stops them in reverse.
 */
export interface Part {
  /** For logs and errors: a noun, e.g. "http server". */
  readonly name: string;
  /** Starts the part. Never fails because Redis is away. */
  start(): Promise<void>;
  /**
   * Stops the part by `deadline` at the latest (an instant of the monotonic clock, ms). Idempotent,
   * allowed before `start`.
   */
  stop(deadline: number): Promise<void>;
}
