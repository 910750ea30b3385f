/** One worker program as a process: started, watched through its log, stopped, frozen, killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { WorkerSettings } from '../sut/settings.ts';
import { until } from './until.ts';

export type Program = 'plain' | 'holdfast';

/** A line of a worker's log, as far as the matrix reads it. */
export interface LogLine {
  event?: string;
  condition?: string;
  time: number;
  msg?: string;
  [field: string]: unknown;
}

export interface WorkerOptions {
  program: Program;
  settings: WorkerSettings;
  /** Modules that the process loads first. */
  imports?: readonly string[];
  env?: Readonly<Record<string, string>>;
}

const START_MS = 20_000;
const alive = new Set<WorkerProcess>();

export class WorkerProcess {
  readonly settings: WorkerSettings;
  readonly lines: LogLine[] = [];
  /** What was printed past the log: warnings of Node, crashes. */
  stray = '';
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | string>;
  #rest = '';

  constructor({ program, settings, imports = [], env = {} }: WorkerOptions) {
    this.settings = settings;
    const main = fileURLToPath(new URL(`../sut/worker-${program}.ts`, import.meta.url));
    const preload = imports.flatMap((path) => ['--import', path]);
    this.#child = spawn(process.execPath, [...preload, main], {
      env: { ...process.env, ...env, OUTAGE_WORKER: JSON.stringify(settings) },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    alive.add(this);
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#read(text));
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stray += text;
    });
    this.#ended = once(this.#child, 'close').then(([code, signal]) => {
      alive.delete(this);
      return (code ?? signal) as number | string;
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  async started(): Promise<void> {
    await until(`worker ${this.settings.workerId} started: ${this.stray}`, START_MS, () => {
      if (this.#child.exitCode !== null) throw new Error(`the worker ended: ${this.stray}`);
      return this.lines.some(({ event }) => event === 'worker.started');
    });
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.#ended;
  }

  /** SIGTERM; resolves with exit code and how long it took, ms. A process that stays is killed. */
  async stop(withinMs: number): Promise<{ code: number | string; tookMs: number }> {
    const began = performance.now();
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), withinMs);
    const code = await this.#ended;
    clearTimeout(timer);
    return { code, tookMs: performance.now() - began };
  }

  /** Lines that say something about Redis being away; the lines of single jobs are not among them. */
  outageLines(): LogLine[] {
    return this.lines.filter(
      ({ event, condition }) =>
        event === 'error' || event?.startsWith('outage.') || condition !== undefined,
    );
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      try {
        this.lines.push(JSON.parse(line) as LogLine);
      } catch {
        this.stray += `${line}\n`;
      }
    }
  }
}

/** Ends every worker process that is left. */
export async function killAllWorkers(): Promise<void> {
  await Promise.all([...alive].map((worker) => worker.kill()));
}

process.on('exit', () => {
  for (const worker of alive) worker.signal('SIGKILL');
});
