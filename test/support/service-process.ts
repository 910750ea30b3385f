/** The service as a process of its own, as a user starts it; killed at the end whatever happens. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const BIN = fileURLToPath(new URL('../../src/bin.mjs', import.meta.url));
const running = new Set<ServiceProcess>();

export interface LogLine {
  event?: string;
  [field: string]: unknown;
}

export class ServiceProcess {
  readonly lines: LogLine[] = [];
  /** Lines on stdout that were no JSON. */
  readonly noise: string[] = [];
  readonly child: ChildProcess;
  readonly dataDir: string;
  readonly exited: Promise<{ code: number | null; signal: string | null }>;
  stderr = '';
  readonly #waiting = new Set<() => void>();

  /** `over`: variables of the process only; its folder and its notes stay elsewhere. */
  constructor(env: Record<string, string>, args: string[] = [], over: Record<string, string> = {}) {
    this.dataDir = env.DATA_DIR ?? mkdtempSync(join(tmpdir(), 'holdfast-service-'));
    this.child = spawn(process.execPath, [BIN, 'start', ...args], {
      cwd: this.dataDir,
      env: {
        PATH: process.env.PATH ?? '',
        REDIS_SERVER_BIN: process.env.REDIS_SERVER_BIN ?? '',
        HTTP_PORT: '0',
        ...env,
        DATA_DIR: this.dataDir,
        ...over,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(this);
    createInterface({ input: this.child.stdout! }).on('line', (line) => this.#line(line));
    this.child.stderr!.on('data', (chunk) => {
      this.stderr += chunk;
    });
    this.exited = once(this.child, 'close').then(([code, signal]) => {
      running.delete(this);
      this.#wake();
      return { code, signal };
    });
  }

  #line(line: string): void {
    try {
      this.lines.push(JSON.parse(line));
    } catch {
      this.noise.push(line);
    }
    this.#wake();
  }

  #wake(): void {
    for (const look of [...this.#waiting]) look();
  }

  of(event: string): LogLine[] {
    return this.lines.filter((line) => line.event === event);
  }

  /** Resolves with the first line of an event. @throws when the process ends without it */
  async until(event: string, count = 1): Promise<LogLine> {
    return await new Promise((resolve, reject) => {
      const look = () => {
        const found = this.of(event);
        if (found.length >= count) resolve(found[count - 1]!);
        else if (this.child.exitCode !== null || this.child.signalCode !== null) {
          reject(new Error(`ended without ${event}: ${this.stderr}`));
        } else return;
        this.#waiting.delete(look);
      };
      this.#waiting.add(look);
      look();
    });
  }

  get url(): string {
    return String(this.of('service.started')[0]?.http);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.child.kill(signal);
    return (await this.exited).code;
  }
}

export async function killServices(): Promise<void> {
  for (const service of running) service.child.kill('SIGKILL');
  await Promise.all([...running].map((service) => service.exited));
}
