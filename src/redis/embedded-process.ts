/**
 * One process of the embedded Redis: choosing its port, starting it in a process group of its own,
 * waiting until it answers, ending it. Knows nothing of who shares it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { EmbeddedRedisError } from '../errors.ts';
import { isProcessAlive } from '../other-process.ts';
import type { EmbeddedKind } from './embedded-record.ts';

export const HOST = '127.0.0.1';
/** An empty server answers in 30 ms; one that reads a large AOF answers LOADING meanwhile. */
const READY_WITHIN_MS = 15_000;
const POLL_MS = 20;
/** One answer on loopback. */
const PING_TIMEOUT_MS = 1000;
const LOG_TAIL_CHARS = 600;

export interface Launch {
  kind: EmbeddedKind;
  /** Path of the server binary; unused for `js`. */
  bin: string | undefined;
  /** The server's own folder, see `serverFolder`. */
  folder: string;
  port: number;
}

export function kindOf(bin: string | undefined): EmbeddedKind {
  if (bin === undefined) return 'js';
  return basename(bin).includes('valkey') ? 'valkey-server' : 'redis-server';
}

/** `preferred` if nobody listens there, else a free port. */
export async function choosePort(preferred: number): Promise<number> {
  return (await isFree(preferred)) ? preferred : await portOf(0);
}

/**
 * Starts the server and resolves when it answers (LOADING is an answer).
 * @throws EmbeddedRedisError with the end of the server's own log
 */
export async function launch(options: Launch): Promise<ChildProcess> {
  if (!(await isFree(options.port))) {
    throw new EmbeddedRedisError(
      `Port ${options.port} on loopback, where the embedded Redis belongs, is taken by another program.`,
      'End that program, or set REDIS_URL.',
      { data: { port: options.port } },
    );
  }
  const logPath = join(options.folder, 'redis.log');
  // A file of its own and not a pipe to us: the server must survive our SIGKILL. Begun anew at each
  // start, and the server writes warnings only, so it stays small.
  const log = openSync(logPath, 'w', 0o600);
  const [command, args] = commandOf(options);
  const child = spawn(command, args, {
    cwd: options.folder,
    // A process group of its own: Ctrl-C in the terminal must not end it before its clients.
    detached: true,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  child.unref();
  try {
    await once(child, 'spawn');
    await answers(child, options.port);
    return child;
  } catch (cause) {
    child.kill('SIGKILL');
    throw new EmbeddedRedisError(
      `The embedded Redis (${command}) did not start: ${tail(logPath) || String(cause)}`,
      'Correct what its log names, set REDIS_SERVER_BIN to another server, or set REDIS_URL.',
      { cause },
    );
  }
}

/** SIGTERM (the server writes its AOF out), then SIGKILL at `deadline` (monotonic, ms). */
export async function end(pid: number, deadline: number): Promise<void> {
  signal(pid, 'SIGTERM');
  while (isProcessAlive(pid) && performance.now() < deadline) await sleep(POLL_MS);
  if (!isProcessAlive(pid)) return;
  signal(pid, 'SIGKILL');
  // The kernel ends it at once unless it hangs in a disk; nothing more can be done then.
  for (let i = 0; i < 50 && isProcessAlive(pid); i++) await sleep(POLL_MS);
}

function commandOf({ kind, bin, folder, port }: Launch): [string, string[]] {
  if (kind === 'js' || bin === undefined) {
    // Sources run as they are; the package holds the compiled file.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const file = fileURLToPath(new URL(`./embedded-js-server.${extension}`, import.meta.url));
    return [process.execPath, [file, folder, `${port}`]];
  }
  return [
    bin,
    [
      ...['--port', `${port}`, '--bind', HOST, '--dir', folder, '--loglevel', 'warning'],
      // Every second: the most that a crash of the machine may lose. A killed server loses nothing
      // that it acknowledged, its writes are with the kernel.
      ...['--appendonly', 'yes', '--appendfsync', 'everysec', '--save', ''],
      // BullMQ's keys must never be evicted.
      ...['--maxmemory-policy', 'noeviction'],
      // Names the folder, by which the process is known again.
      ...['--proc-title-template', `{title} {listen-addr} ${folder}`],
    ],
  ];
}

async function answers(child: ChildProcess, port: number): Promise<void> {
  const deadline = performance.now() + READY_WITHIN_MS;
  while (performance.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`it ended with ${child.signalCode ?? `exit code ${child.exitCode}`}`);
    }
    if (await ping(port)) return;
    await sleep(POLL_MS);
  }
  throw new Error(`it did not answer within ${READY_WITHIN_MS} ms`);
}

/** Whether something that speaks Redis answers on this loopback port. */
function ping(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, HOST);
    const settle = (isAnswer: boolean): void => {
      socket.destroy();
      resolve(isAnswer);
    };
    socket.setTimeout(PING_TIMEOUT_MS, () => settle(false));
    socket.once('error', () => settle(false));
    socket.once('close', () => settle(false));
    socket.once('connect', () => socket.write('*1\r\n$4\r\nPING\r\n'));
    socket.once('data', (chunk) => settle(/^(\+PONG|-LOADING)/.test(chunk.toString())));
  });
}

async function isFree(port: number): Promise<boolean> {
  try {
    await portOf(port);
    return true;
  } catch {
    return false;
  }
}

/** Listens for a moment. */
async function portOf(port: number): Promise<number> {
  const server = createServer().listen(port, HOST);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return address !== null && typeof address === 'object' ? address.port : port;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It ended by itself.
  }
}

function tail(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim().slice(-LOG_TAIL_CHARS);
  } catch {
    return '';
  }
}
