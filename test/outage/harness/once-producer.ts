/** The producer of `sut/once-producer.ts` as a process, with what it acknowledged and what it was asked. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { JobsOptions } from 'bullmq';
import type { Left } from '../../../src/queue/client.ts';

const SUT = fileURLToPath(new URL('../sut/once-producer.ts', import.meta.url));
/** Quick to see a fault, and with a rollback window that a test can wait for. */
const SETTINGS = { PULSE_INTERVAL: '100ms', PULSE_TIMEOUT: '400ms', ROLLBACK_WINDOW: '1s' };
/** Lines of its log that a failure shows. */
const LINES_TOLD = 10;

export interface OnceProducerOptions {
  redis: string;
  journal: string;
  settings?: Readonly<Record<string, string>> | undefined;
}

export class OnceProducer {
  /** What it could not keep; nothing may be here. */
  readonly errors: string[] = [];
  /** Acknowledgements of this life. */
  acknowledged = 0;
  readonly #child: ChildProcess;
  readonly #asked = new Map<string, (ids: string[]) => void>();
  readonly #lines: string[] = [];
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
      this.#lines.push(line);
    });
    this.#ended = Promise.all([once(this.#child, 'exit'), once(said, 'close')]);
    this.#child.on('exit', (code) => {
      if (code) this.errors.push(`ended with ${code}: ${this.lastLines.join('\n')}`);
    });
  }

  /** Resolves with the ids once it is acknowledged; never if it is killed before. */
  enqueue(way: string, mark: string, options: JobsOptions = {}): Promise<string[]> {
    this.#child.stdin!.write(`${JSON.stringify({ way, mark, options })}\n`);
    return new Promise((resolve) => this.#asked.set(mark, resolve));
  }

  /** Of its log. */
  get lastLines(): string[] {
    return this.#lines.slice(-LINES_TOLD);
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
    if (mark === undefined || !ids) return;
    this.acknowledged += 1;
    this.#asked.get(mark)?.(ids);
  }
}

interface Said {
  mark?: string;
  ids?: string[];
  error?: string;
  left?: Left;
}
