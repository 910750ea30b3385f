/**
 * A TCP proxy in front of a server, for the faults of a network: refused, reset, black-holed,
 * replies lost, slow. No root, the same on every platform.
 *
 * A black hole holds bytes as a network does that retransmits: on `heal` they arrive, late. With
 * `forever` they never do. It cannot drop a SYN: a new connection into a black hole is accepted by
 * our kernel and then met with silence.
 */
import { once } from 'node:events';
import { createServer, type Server, Socket } from 'node:net';
import { RequestWire, type TripsWhen, Tripwire } from './tripwire.ts';

export interface BlackHole {
  /** Swallow the connections that exist now (default true). */
  existing?: boolean;
  /** Swallow connections made from now on (default true). */
  new?: boolean;
  /** These connections never carry a byte again, not even after `heal`. */
  forever?: boolean;
}

export interface ProxiedConnection {
  readonly id: number;
  /** The last 4 KiB of what the client sent, to tell which connection it is (`/bzpopmin/i`). */
  recentRequests(): string;
  /** Swallows both directions of this connection only. */
  blackHole(options?: { forever?: boolean }): void;
  /** As the proxy's own, of this connection only. */
  dropReplies(options?: { forever?: boolean }): void;
  /** RST to the client and to the server. */
  reset(): void;
}

const HOST = '127.0.0.1';
const RECENT_BYTES = 4096;

const open = new Set<TcpProxy>();

/** Starts a proxy on a free loopback port in front of `127.0.0.1:targetPort`. */
export async function startProxy(targetPort: number): Promise<TcpProxy> {
  const proxy = new TcpProxy(targetPort);
  await proxy.listen();
  open.add(proxy);
  return proxy;
}

/** Ends every proxy that this process started. */
export async function stopAllProxies(): Promise<void> {
  await Promise.all([...open].map((proxy) => proxy.stop()));
}

/** What one direction of a connection does with bytes. */
type Flow = 'pass' | 'hold' | 'dead';

export class TcpProxy {
  readonly host = HOST;
  /** Where the next connections go; may be changed, as a DNS name or a failover would. */
  targetPort: number;
  /** Connections accepted since the start. */
  accepted = 0;
  #port = 0;
  #server: Server | undefined;
  readonly #pairs = new Set<Pair>();
  /** What a new connection gets: requests and replies apart. */
  #requests: Flow = 'pass';
  #replies: Flow = 'pass';
  #latencyMs = 0;
  #jitterMs = 0;
  #wire: Tripwire | RequestWire<ProxiedConnection> | undefined;

  /** Use `startProxy`. */
  constructor(targetPort: number) {
    this.targetPort = targetPort;
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `redis://${HOST}:${this.#port}`;
  }

  connections(): ProxiedConnection[] {
    return [...this.#pairs];
  }

  /** New connections are refused (ECONNREFUSED); existing ones live on: add `reset` to end them. */
  async refuse(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    // Not awaited to its end: `close` waits for connections, but the port is free at once.
    server?.close();
  }

  /** RST to all existing connections; new ones pass. */
  reset(): void {
    for (const pair of this.#pairs) pair.reset();
  }

  /** FIN to all clients, as of a server that ends; what they have sent and say yet gets no answer. */
  hangUp(): void {
    for (const pair of this.#pairs) pair.hangUp();
  }

  /** As if nobody were there: `refuse` and `reset`. */
  cut(): void {
    void this.refuse();
    this.reset();
  }

  /** Nothing arrives any more in either direction, and no socket is told. */
  blackHole(options: BlackHole = {}): void {
    const { existing = true, new: fresh = true, forever = false } = options;
    const flow = forever ? 'dead' : 'hold';
    if (existing) for (const pair of this.#pairs) pair.flow(flow, flow);
    if (fresh) this.#requests = this.#replies = flow;
  }

  /** Requests arrive and act, replies do not come back (until `heal`, unless `forever`). */
  dropReplies(options: { forever?: boolean } = {}): void {
    const flow = options.forever ? 'dead' : 'hold';
    for (const pair of this.#pairs) pair.flow('pass', flow);
    this.#replies = flow;
  }

  /** Adds about `ms` to each round trip, half each way; `jitterMs` is the width around it. */
  latency(ms: number, jitterMs = 0): void {
    this.#latencyMs = ms;
    this.#jitterMs = jitterMs;
  }

  /**
   * Acts when so many more commands were sent through, counted over all connections, before any byte
   * that was sent after them passes. With `isWithin` half of what follows passes first.
   */
  afterCommands(commands: number, isWithin: boolean, act: () => void): void {
    this.#wire = new Tripwire(commands, isWithin, act);
  }

  /**
   * Acts when the next request with this text in it comes along: `before` any byte of it passes, or when it
   * has `passed`, before any answer to it.
   */
  onRequest(text: string, when: TripsWhen, act: (connection: ProxiedConnection) => void): void {
    this.#wire = new RequestWire(text, when, act);
  }

  /** All is well again: held bytes arrive, new connections pass. */
  async heal(): Promise<void> {
    this.#requests = this.#replies = 'pass';
    this.#latencyMs = this.#jitterMs = 0;
    for (const pair of this.#pairs) pair.flow('pass', 'pass');
    if (this.#server === undefined) await this.listen();
  }

  /** Resets everything and frees the port. Idempotent. */
  async stop(): Promise<void> {
    open.delete(this);
    await this.refuse();
    this.reset();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Opens the listener, on the port it had before if there was one. */
  async listen(): Promise<void> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      this.#accept(client);
    });
    this.#server = server;
    server.listen(this.#port, HOST);
    await once(server, 'listening');
    const address = server.address();
    if (address !== null && typeof address === 'object') this.#port = address.port;
  }

  #accept(client: Socket): void {
    const id = ++this.accepted;
    const pair = new Pair(id, client, this.targetPort, {
      delayMs: () =>
        Math.max(0, this.#latencyMs / 2 + (Math.random() - 0.5) * (this.#jitterMs / 2)),
      ended: () => this.#pairs.delete(pair),
      onRequests: (chunk) => this.#wire?.onRequests(pair, chunk) ?? { passes: chunk },
    });
    this.#pairs.add(pair);
    pair.flow(this.#requests, this.#replies);
  }
}

/** Lets a chunk pass, or a part of it, and says what is to be done then. */
type Gate = (chunk: Buffer) => { passes: Buffer; act?: () => void };

/** One client connection and its connection to the server. */
class Pair implements ProxiedConnection {
  readonly id: number;
  readonly #requests: Direction;
  readonly #replies: Direction;
  #recent = '';

  constructor(
    id: number,
    client: Socket,
    targetPort: number,
    hooks: { delayMs: () => number; ended: () => void; onRequests: Gate },
  ) {
    this.id = id;
    const upstream = new Socket({ allowHalfOpen: true });
    upstream.setNoDelay(true);
    upstream.connect(targetPort, HOST);
    this.#requests = new Direction(client, upstream, hooks.delayMs, hooks.onRequests);
    this.#replies = new Direction(upstream, client, hooks.delayMs);
    client.prependListener('data', (chunk) => {
      this.#recent = (this.#recent + chunk.toString('latin1')).slice(-RECENT_BYTES);
    });
    // An upstream that refuses or resets is passed on as a reset, which is what a client would see.
    upstream.on('error', () => client.resetAndDestroy());
    client.on('error', () => upstream.resetAndDestroy());
    client.on('close', hooks.ended);
  }

  recentRequests(): string {
    return this.#recent;
  }

  flow(requests: Flow, replies: Flow): void {
    this.#requests.flow(requests);
    this.#replies.flow(replies);
  }

  blackHole(options: { forever?: boolean } = {}): void {
    const flow = options.forever ? 'dead' : 'hold';
    this.flow(flow, flow);
  }

  dropReplies(options: { forever?: boolean } = {}): void {
    this.flow('pass', options.forever ? 'dead' : 'hold');
  }

  reset(): void {
    this.#requests.end();
    this.#replies.end();
  }

  hangUp(): void {
    this.#replies.hangUp();
  }
}

/** Bytes from one socket to the other, in order. */
class Direction {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #delayMs: () => number;
  #flow: Flow = 'pass';
  /** The moment (monotonic ms) before which the next chunk may not arrive: keeps their order. */
  #notBefore = 0;
  readonly #pending: { act: () => void; at: number }[] = [];

  constructor(from: Socket, to: Socket, delayMs: () => number, gate?: Gate) {
    this.#from = from;
    this.#to = to;
    this.#delayMs = delayMs;
    from.on('data', (chunk) => {
      const { passes, act } = gate?.(chunk) ?? { passes: chunk };
      this.#later(() => this.#to.write(passes));
      if (act === undefined) return;
      act();
      const rest = chunk.subarray(passes.length);
      if (rest.length > 0 && !from.destroyed) from.unshift(rest);
    });
    from.on('end', () => this.#later(() => this.#to.end()));
  }

  flow(flow: Flow): void {
    if (this.#flow === 'dead') return;
    this.#flow = flow;
    // A paused socket leaves bytes, and the peer's FIN, in the kernel: as if they were on their way.
    if (flow === 'pass') this.#from.resume();
    else this.#from.pause();
  }

  end(): void {
    this.#from.resetAndDestroy();
  }

  hangUp(): void {
    this.#to.end();
  }

  #later(act: () => void): void {
    const now = performance.now();
    this.#notBefore = Math.max(this.#notBefore, now + this.#delayMs());
    if (this.#notBefore <= now && this.#pending.length === 0) this.#actIfOpen(act);
    else {
      this.#pending.push({ act, at: this.#notBefore });
      if (this.#pending.length === 1) this.#wait();
    }
  }

  /** One timer for the head of the line: two timers of nearly the same moment may change places. */
  #wait(): void {
    const head = this.#pending[0];
    if (head === undefined) return;
    setTimeout(
      () => {
        this.#pending.shift();
        this.#actIfOpen(head.act);
        this.#wait();
      },
      Math.max(0, head.at - performance.now()),
    );
  }

  #actIfOpen(act: () => void): void {
    if (!this.#to.destroyed) act();
  }
}
