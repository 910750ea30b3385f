/** One row of the fault matrix: how to cause a fault, how to end it, and what must be true. */
import type { RedisServerOptions } from '../../support/redis-server.ts';
import type { WorkerSettings } from '../sut/settings.ts';
import type { World } from './world.ts';

export interface Row {
  /** Number of the row in the matrix and of the case within it: `1.2`. */
  id: string;
  /** What is done to Redis, the network or a worker. */
  fault: string;
  /** From the fault to its end, ms. */
  outageMs: number;
  /** Runs only with `--full`. */
  isFull?: true;
  /** What is different when `npm test` plays it, which plays only rows that have this. */
  brief?: Partial<Row>;
  /** What is shortened by configuration, and why the mechanism is the same. */
  shortened?: string;
  topology?: 'single' | 'sentinel' | 'cluster';
  server?: RedisServerOptions;
  worker?: Partial<WorkerSettings>;
  /** Modules that the workers load first. */
  imports?: readonly string[];
  /** The workers' wall clock can be set, with `setClock`. */
  hasOwnClock?: true;
  /** Host name of Redis as the workers are told; default the proxy's address. */
  host?: string;
  /** What names resolve to at the start, for rows that load `hosts.ts`. */
  hosts?: Readonly<Record<string, string>>;
  /** What the workers' address carries before the host: `user:password`. */
  credentials?: string;
  /** The server's password, for those who look past the workers. */
  password?: string;
  /** What the workers' password file says at the start. */
  passwordFile?: string;
  /** The fault is there before the workers start; nothing is in flight. */
  isAbsentAtStart?: true;
  /** The second worker starts only when the first has all that is in flight: it is idle. */
  hasIdleWorker?: true;
  /** Jobs of this length are in flight, ms; default: some end within the outage, some after it. */
  inFlightMs?: readonly number[];
  cause(world: World): Promise<void>;
  /** Ends the fault; resolves when Redis answers again. */
  mend(world: World): Promise<void>;
  /** What else must be true when all is over. Returns what is not. */
  verify?(world: World): Promise<string[]>;
  expect?: Expectation;
}

export interface Expectation {
  /** The conditions that may be named at the start, beside `disconnected`; default any. */
  conditions?: readonly string[];
  /** Conditions of which one must be named in the line at the end. */
  named?: readonly string[];
  /** `none`: this fault opens no breaker. Default: every worker opens. */
  opens?: 'all' | 'some' | 'none' | 'any';
  detectMs?: number;
  firstJobMs?: number;
  /** Runs that may be repeated, told by the row with its reason: those of a worker that died. */
  mayRepeat?(world: World): ReadonlySet<string>;
  /** Progress and log lines of the lost moments may be gone; outcomes may not. */
  mayLoseNotes?: true;
  /** Reports wait, as everything in a process does whose event loop is blocked. */
  mayHoldUpReports?: true;
  /** Jobs that may be gone: the dataset was deleted. */
  mayLose?: true;
  /** Who saw it is dead: nobody is left to tell its end. */
  endsUntold?: true;
  /** Workers, by position, that are not there at the end or end otherwise. */
  exits?: readonly (number | string | undefined)[];
}

export interface RowResult {
  id: string;
  program: string;
  fault: string;
  outageS: number;
  /** Worst worker, ms; undefined where no breaker opened. */
  detectMs: number | undefined;
  firstJobMs: number | undefined;
  jobs: number;
  lost: number;
  twice: number;
  /** Worst worker, lines in its worst minute. */
  logLines: number;
  conditions: string[];
  problems: string[];
  /** What the workers logged about outages; only of a row that is broken. */
  log: string[];
  shortened?: string;
}
