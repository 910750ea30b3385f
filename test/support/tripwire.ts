/**
 * Wires across a proxy's requests: when so many commands have passed, on all connections together, or when
 * a certain one comes, something happens. Exact to the byte, so that a fault can strike between any two
 * commands, or within one.
 */

/** Finds the ends of commands in the bytes that a client sends. */
class CommandEnds {
  #argumentsLeft = 0;
  #bytesLeft = 0;
  #line = '';

  /** True when this byte is the last one of a command. */
  takes(byte: number): boolean {
    if (this.#bytesLeft > 0) {
      this.#bytesLeft -= 1;
      return this.#bytesLeft === 0 && this.#argumentsLeft === 0;
    }
    const char = String.fromCharCode(byte);
    if (char !== '\n') {
      this.#line += char;
      return false;
    }
    const length = Number(this.#line.slice(1));
    if (this.#line.startsWith('*')) this.#argumentsLeft = length;
    else {
      this.#argumentsLeft -= 1;
      this.#bytesLeft = length + 2;
    }
    this.#line = '';
    return false;
  }
}

export class Tripwire {
  readonly #act: () => void;
  readonly #isWithin: boolean;
  readonly #connections = new WeakMap<object, CommandEnds>();
  #left: number;
  #isTripped = false;

  /** `isWithin`: in the middle of the command that follows. */
  constructor(commands: number, isWithin: boolean, act: () => void) {
    this.#left = commands;
    this.#isWithin = isWithin;
    this.#act = act;
  }

  /** How much of a chunk passes, and what is to be done when it has. */
  onRequests(connection: object, chunk: Buffer): { passes: Buffer; act?: () => void } {
    if (this.#isTripped) return { passes: chunk };
    const ends = this.#connections.get(connection) ?? new CommandEnds();
    this.#connections.set(connection, ends);
    let at = 0;
    while (this.#left > 0 && at < chunk.length) if (ends.takes(chunk[at++]!)) this.#left -= 1;
    if (this.#left > 0 || (this.#isWithin && at === chunk.length)) return { passes: chunk };
    this.#isTripped = true;
    const half = this.#isWithin ? Math.ceil((chunk.length - at) / 2) : 0;
    return { passes: chunk.subarray(0, at + half), act: this.#act };
  }
}

/** Whether a wire acts before the request passes that trips it, or when it has, before any answer. */
export type TripsWhen = 'before' | 'passed';

/** Trips once, at the first request with a text in it. The rest of one that comes in pieces passes. */
export class RequestWire<Connection extends object> {
  readonly #text: string;
  readonly #when: TripsWhen;
  readonly #act: (connection: Connection) => void;
  /** The ends of what passed, in which the text may have begun. */
  readonly #ends = new WeakMap<Connection, Buffer>();
  #isTripped = false;

  constructor(text: string, when: TripsWhen, act: (connection: Connection) => void) {
    this.#text = text;
    this.#when = when;
    this.#act = act;
  }

  onRequests(connection: Connection, chunk: Buffer): { passes: Buffer; act?: () => void } {
    if (this.#isTripped) return { passes: chunk };
    const seen = Buffer.concat([this.#ends.get(connection) ?? Buffer.alloc(0), chunk]);
    this.#ends.set(connection, seen.subarray(-this.#text.length));
    if (!seen.includes(this.#text)) return { passes: chunk };
    this.#isTripped = true;
    const passes = this.#when === 'before' ? chunk.subarray(0, 0) : chunk;
    return { passes, act: () => this.#act(connection) };
  }
}
