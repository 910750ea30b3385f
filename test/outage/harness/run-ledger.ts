/** What ran, as the handlers wrote it down: read while it grows, asked for what ran twice. */
import { readFileSync } from 'node:fs';

export interface LedgerLine {
  queue: string;
  id: string;
  /** Tells jobs of one id apart, ms since the epoch. */
  createdAt: number;
  /** BullMQ's `attemptsMade` when the run began. */
  attempt: number;
  what: 'start' | 'end' | 'fail' | 'aborted' | 'report-threw' | 'report-late';
  /** ms since the epoch */
  at: number;
  worker: string;
  detail?: string;
}

export class RunLedger {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  lines(): LedgerLine[] {
    const text = readFileSync(this.path, { encoding: 'utf8', flag: 'a+' });
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as LedgerLine);
  }

  starts(): LedgerLine[] {
    return this.lines().filter(({ what }) => what === 'start');
  }

  /** Runs that have begun and not ended, by anybody. */
  running(): LedgerLine[] {
    const open = new Map<string, LedgerLine>();
    for (const line of this.lines()) {
      const run = `${runOf(line)} ${line.worker}`;
      if (line.what === 'start') open.set(run, line);
      else if (line.what === 'end' || line.what === 'fail' || line.what === 'aborted') {
        open.delete(run);
      }
    }
    return [...open.values()];
  }

  /** Every start beyond the first of one attempt of one job. */
  repeated(): LedgerLine[] {
    const seen = new Set<string>();
    return this.starts().filter((line) => {
      const run = runOf(line);
      if (seen.has(run)) return true;
      seen.add(run);
      return false;
    });
  }
}

/** One attempt of one job, wherever it ran. */
export function runOf({ queue, id, createdAt, attempt }: LedgerLine): string {
  return `${queue} ${id} ${createdAt} ${attempt}`;
}
