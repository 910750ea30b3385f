/**
 * Real redis-servers for tests, and what can be done to them: kill, freeze, bring back, bring back
 * without their last seconds.
 *
 * Every server has its own port and its own folder under the system's temporary folder. Everything
 * ends with the test process; what a killed test process left behind is swept by the next one.
 * Never talks to a server it did not start.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';

export interface RedisServerOptions {
  /** Additional arguments, e.g. `['--maxmemory', '10mb']`. They come last and so win. */
  args?: readonly string[];
  /** A fixed port; otherwise a free one. */
  port?: number;
  /** Keep an append-only file; `true` means fsync every second. Default: no persistence at all. */
  aof?: boolean | 'always' | 'everysec' | 'no';
  /** Also listen on a unix socket in the server's folder, see `socketPath`. */
  unixSocket?: boolean;
  /** Run as a Sentinel with these configuration lines (`port` and `dir` are added). */
  sentinel?: readonly string[];
  /** A server binary; default REDIS_SERVER_BIN, else `redis-server` of the PATH. */
  bin?: string;
  /** How long it may take until it answers, ms. */
  readyWithinMs?: number;
}

/** A copy of an append-only file as it was at one moment. */
export interface AofSnapshot {
  readonly path: string;
}

const FOLDER_PREFIX = 'holdfast-test-redis-';
const HOST = '127.0.0.1';
const PID_FILE = 'redis.pid';
const AOF_FOLDER = 'appendonlydir';
/** A server with a large AOF on a busy two-core machine needs seconds; a healthy empty one 30 ms. */
const READY_WITHIN_MS = 20_000;
/** Tries to find a port that nobody takes between our look and the server's bind. */
const PORT_TRIES = 5;

const running = new Set<RedisServer>();
let hooksInstalled = false;

/** Starts a redis-server and resolves when it answers PING. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  installHooks();
  for (let attempt = 1; ; attempt++) {
    const server = new RedisServer(options, options.port ?? (await freePort()));
    running.add(server);
    try {
      await server.restart();
      return server;
    } catch (error) {
      await server.stop();
      if (options.port !== undefined || attempt === PORT_TRIES || !isAddressInUse(error))
        throw error;
    }
  }
}

/** Ends every server that this process started. */
export async function stopAllRedis(): Promise<void> {
  await Promise.all([...running].map((server) => server.stop()));
}

/** A port on loopback that was free a moment ago. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  probe.listen(0, HOST);
  await once(probe, 'listening');
  const address = probe.address();
  if (address === null || typeof address === 'string') throw new Error('no port was given');
  probe.close();
  await once(probe, 'close');
  return address.port;
}

export class RedisServer {
  readonly host = HOST;
  readonly port: number;
  /** Its own folder: append-only file, log, socket. Removed by `stop`. */
  readonly dir: string;
  readonly #options: RedisServerOptions;
  #child: ChildProcess | undefined;
  #log = '';
  #snapshots = 0;

  /** Use `startRedis`. */
  constructor(options: RedisServerOptions, port: number) {
    this.#options = options;
    this.port = port;
    this.dir = mkdtempSync(join(tmpdir(), `${FOLDER_PREFIX}${process.pid}-`));
  }

  get url(): string {
    return `redis://${HOST}:${this.port}`;
  }

  /** Path of the unix socket, when started with `unixSocket`. */
  get socketPath(): string {
    return join(this.dir, 'redis.sock');
  }

  /** Process id of the running server; undefined while it is dead. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** What the server printed since its first start (the last 64 KiB). */
  get log(): string {
    return this.#log;
  }

  /** SIGKILL; resolves when the process is gone. Data that is not in the AOF is lost. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }

  /** Kills the server if it runs, starts it on the same port and folder, waits until it is ready. */
  async restart(): Promise<void> {
    await this.start();
    await this.#ready();
  }

  /** As `restart`, but resolves when the process is there: for outages that begin with LOADING. */
  async start(): Promise<void> {
    await this.kill();
    const child = spawn(
      this.#options.bin ?? process.env.REDIS_SERVER_BIN ?? 'redis-server',
      this.#arguments(),
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.#child = child;
    child.once('exit', () => {
      if (this.#child === child) this.#child = undefined;
    });
    const remember = (chunk: Buffer): void => {
      this.#log = (this.#log + chunk.toString()).slice(-65_536);
    };
    child.stdout?.on('data', remember);
    child.stderr?.on('data', remember);
    await once(child, 'spawn');
  }

  /** SIGSTOP: sockets stay open, nothing is answered, until `thaw`. */
  freeze(): void {
    this.#signal('SIGSTOP');
  }

  /** SIGCONT. */
  thaw(): void {
    this.#signal('SIGCONT');
  }

  /** Kills the server and removes its folder. Idempotent. */
  async stop(): Promise<void> {
    await this.kill();
    running.delete(this);
    rmSync(this.dir, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Keeps a copy of the append-only file as it is now; the server goes on. */
  snapshotAof(): AofSnapshot {
    const source = join(this.dir, AOF_FOLDER);
    if (!existsSync(source)) throw new Error('The server was started without `aof`.');
    const path = join(this.dir, `snapshot-${++this.#snapshots}`);
    cpSync(source, path, { recursive: true });
    return { path };
  }

  /** The server dies and comes back with the data of the snapshot: all later writes are lost. */
  async restartFrom(snapshot: AofSnapshot): Promise<void> {
    await this.kill();
    const target = join(this.dir, AOF_FOLDER);
    rmSync(target, { recursive: true, force: true });
    cpSync(snapshot.path, target, { recursive: true });
    await this.restart();
  }

  /** One command over a connection of its own: `await server.command('CONFIG', 'SET', 'maxmemory', '1')`. */
  async command(name: string, ...args: (string | number)[]): Promise<unknown> {
    const client = new Redis({
      host: HOST,
      port: this.port,
      lazyConnect: true,
      enableReadyCheck: false,
      maxRetriesPerRequest: 0,
      retryStrategy: () => null,
    });
    // The rejected call says it; without a listener ioredis would print it as well.
    client.on('error', () => {});
    try {
      await client.connect();
      return await client.call(name, ...args);
    } finally {
      client.disconnect();
    }
  }

  #arguments(): string[] {
    const { sentinel } = this.#options;
    if (sentinel !== undefined) {
      // A Sentinel rewrites its file with what it learnt: written once, kept over restarts.
      const path = join(this.dir, 'sentinel.conf');
      const lines = [
        `port ${this.port}`,
        `bind ${HOST}`,
        `dir ${this.dir}`,
        `pidfile ${join(this.dir, PID_FILE)}`,
        ...sentinel,
        '',
      ];
      if (!existsSync(path)) writeFileSync(path, lines.join('\n'));
      return [path, '--sentinel'];
    }
    const { aof = false, unixSocket = false, args = [] } = this.#options;
    return [
      ...['--port', `${this.port}`, '--bind', HOST, '--dir', this.dir, '--save', ''],
      ...['--appendonly', aof === false ? 'no' : 'yes'],
      ...['--appendfsync', typeof aof === 'string' ? aof : 'everysec'],
      // A rewrite in the middle of a snapshot would leave a copy that is neither old nor new.
      ...['--auto-aof-rewrite-percentage', '0'],
      ...['--enable-debug-command', 'local'],
      ...['--pidfile', join(this.dir, PID_FILE)],
      // The title names the folder, so that a sweep can tell our servers from others.
      ...['--proc-title-template', `{title} {listen-addr} ${this.dir}`],
      ...(unixSocket ? ['--unixsocket', this.socketPath] : []),
      ...args,
    ];
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#child === undefined) throw new Error(`${signal}: the server does not run.`);
    this.#child.kill(signal);
  }

  async #ready(): Promise<void> {
    const deadline = performance.now() + (this.#options.readyWithinMs ?? READY_WITHIN_MS);
    for (;;) {
      const child = this.#child;
      if (child === undefined) throw new Error(`redis-server ended at once:\n${this.#log}`);
      const reply = await pingOnce(this.port);
      // An answer that asks for a password is an answer; LOADING is a server that is not there yet.
      if (reply?.startsWith('+PONG') || reply?.startsWith('-NOAUTH')) return;
      if (performance.now() > deadline) {
        throw new Error(
          `redis-server did not answer in time (${reply ?? 'nothing'}):\n${this.#log}`,
        );
      }
      await sleep(10);
    }
  }

  /** For the exit hook: no time for promises. */
  killNow(): void {
    this.#child?.kill('SIGKILL');
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** The first line that the server answers to PING; undefined when it does not within a second. */
function pingOnce(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, HOST);
    let text = '';
    const settle = (reply: string | undefined): void => {
      socket.destroy();
      resolve(reply);
    };
    socket.setTimeout(1000, () => settle(undefined));
    socket.on('error', () => settle(undefined));
    socket.on('close', () => settle(undefined));
    socket.on('connect', () => socket.write('PING\r\n'));
    socket.on('data', (chunk) => {
      text += chunk.toString();
      const end = text.indexOf('\r\n');
      if (end >= 0) settle(text.slice(0, end));
    });
  });
}

function isAddressInUse(error: unknown): boolean {
  return error instanceof Error && /Address already in use/i.test(error.message);
}

/** Servers die with us, and what a killed test process could not end itself is ended now. */
function installHooks(): void {
  if (hooksInstalled) return;
  hooksInstalled = true;
  process.on('exit', () => {
    for (const server of running) server.killNow();
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      for (const server of running) server.killNow();
      process.kill(process.pid, signal);
    });
  }
  sweepLeftovers();
}

function sweepLeftovers(): void {
  for (const name of readdirSync(tmpdir())) {
    const owner = Number(name.startsWith(FOLDER_PREFIX) && name.split('-').at(-2));
    if (!owner || isAlive(owner)) continue;
    const dir = join(tmpdir(), name);
    const pid = serverPidIn(dir);
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  }
}

/** The server's own pid file, believed only while that process has the folder in its title. */
function serverPidIn(dir: string): number | undefined {
  try {
    const pid = Number(readFileSync(join(dir, PID_FILE), 'utf8'));
    const title = execFileSync('ps', ['-o', 'args=', '-p', `${pid}`], { encoding: 'utf8' });
    return title.includes(dir) ? pid : undefined;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
