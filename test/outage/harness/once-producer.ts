/** The producer of `sut/once-producer.ts` as a process, with what it acknowledged and what it was asked. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { JobsOptions } from 'bullmq';
import type { Left } from '../../../src/queue/client.ts';
import { until } from './until.ts';

const SUT = fileURLToPath(new URL('../sut/once-producer.ts', import.meta.url));
/** Quick to see a fault, and with a rollback window that a test can wait for. */
const SETTINGS = { PULSE_INTERVAL: '100ms', PULSE_TIMEOUT: '400ms', ROLLBACK_WINDOW: '1s' };
const PATIENCE_MS = 20_000;

export interface OnceProducerOptions {
  redis: string;
  journal: string;
  settings?: Readonly<Record<string, string>> | undefined;
}

export class OnceProducer {
  /** What it could not keep; nothing may be here. */
  readonly errors: string[] = [];
  readonly #child: ChildProcess;
  readonly #asked = new Map<string, (ids: string[]) => void>();
  readonly #events: string[] = [];
  readonly #ended: Promise<unknown>;
  #left: Left | undefined;

  constructor({ redis, journal, settings }: OnceProducerOptions) {
    const args = [SUT, redis, journal, JSON.stringify({ ...SETTINGS, ...settings })];
    this.#child = spawn(process.execPath, args, { stdio: 'pipe' });
    const { stdin, stdout, stderr } = this.#child;
    // It may be killed while it is being told something.
    stdin!.on('error', () => undefined);
    const said = createInterface({ input: stdout! });
    said.on('line', (line) => this.#said(JSON.parse(line)));
    createInterface({ input: stderr! }).on('line', (line) => {
      if (process.env.TEST_LOG) process.stderr.write(`${line}\n`);
      this.#events.push(line);
    });
    this.#ended = Promise.all([once(this.#child, 'exit'), once(said, 'close')]);
    this.#child.on('exit', (code) => {
      if (code) this.errors.push(`ended with ${code}: ${this.#events.slice(-10).join('\n')}`);
    });
  }

  /** Resolves with the ids once it is acknowledged; never if it is killed before. */
  enqueue(way: string, mark: string, options: JobsOptions = {}): Promise<string[]> {
    this.#child.stdin!.write(`${JSON.stringify({ way, mark, options })}\n`);
    return new Promise((resolve) => this.#asked.set(mark, resolve));
  }

  /** How often it has logged an event until now. */
  count(event: string): number {
    return this.#events.filter((line) => line.includes(`"event":"${event}"`)).length;
  }

  async until(event: string, count: number): Promise<void> {
    await until(`${event} for the ${count}. time`, PATIENCE_MS, () => this.count(event) >= count);
  }

  /** SIGKILL; resolves when all that it had said is known. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  /** Ends it in order; says what it leaves to its next life. */
  async close(): Promise<Left | undefined> {
    this.#child.stdin!.end();
    await this.#ended;
    return this.#left;
  }

  #said({ mark, ids, error, left }: Said): void {
    if (left) this.#left = left;
    if (error) this.errors.push(`${mark}: ${error}`);
    if (mark !== undefined && ids) this.#asked.get(mark)?.(ids);
  }
}

interface Said {
  mark?: string;
  ids?: string[];
  error?: string;
  left?: Left;
}
