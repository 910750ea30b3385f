/**
 * One call of a script, as a command of ioredis: made once, written in one piece. What ioredis makes of a
 * call by `defineCommand` (each argument a piece of its own, two promises more) is a tenth of what a job
 * costs this process; this is what pays for the fence. Knows nothing of what a script does.
 *
 * Scripts of pipelines and transactions go through `queueScript`.
 */
import { createHash } from 'node:crypto';
import { type Cluster, Command, type Redis } from 'ioredis';

const CRLF = '\r\n';

export class Script {
  readonly lua: string;
  readonly sha: string;
  /** How many of the arguments are keys; undefined: the first argument of each call says so. */
  readonly keys: number | undefined;
  /** Sockets whose server has been sent the text: it knows the script by its hash. */
  readonly knownBy = new WeakSet<object>();

  constructor(lua: string, keys: number | undefined) {
    this.lua = lua;
    this.sha = createHash('sha1').update(lua).digest('hex');
    this.keys = keys;
  }
}

class ScriptCommand extends Command {
  readonly #script: Script;
  #socket: object | undefined;

  constructor(client: Redis | Cluster, script: Script, args: readonly unknown[]) {
    super('evalsha', [script.sha, ...(args as string[])], { replyEncoding: 'utf8' });
    this.#script = script;
    const { reject } = this;
    let isAgain = false;
    this.reject = (error) => {
      if (isAgain || !error.message.startsWith('NOSCRIPT')) return reject(error);
      // The server has forgotten the script, and did nothing: it is sent again with its text.
      isAgain = true;
      if (this.#socket) this.#script.knownBy.delete(this.#socket);
      client.sendCommand(this);
    };
  }

  /** Called each time it is sent: a Cluster's redirect sends it again, to another server. */
  override toWritable(socket: object): string | Buffer {
    const { knownBy, lua, sha } = this.#script;
    const isKnown = knownBy.has(socket);
    knownBy.add(socket);
    this.#socket = socket;
    this.name = isKnown ? 'evalsha' : 'eval';
    this.args[0] = isKnown ? sha : lua;
    return wireForm(this.name, this.args as readonly (string | Buffer)[]);
  }
}

/** A command in Redis' protocol: neighbouring strings are joined, so that there is little to copy. */
function wireForm(name: string, args: readonly (string | Buffer)[]): string | Buffer {
  let text = `*${args.length + 1}${CRLF}$${name.length}${CRLF}${name}${CRLF}`;
  const pieces: (string | Buffer)[] = [];
  for (const arg of args) {
    text += `$${Buffer.byteLength(arg)}${CRLF}`;
    if (typeof arg === 'string') text += arg + CRLF;
    else {
      pieces.push(text, arg);
      text = CRLF;
    }
  }
  if (pieces.length === 0) return text;
  pieces.push(text);
  return joined(pieces);
}

function joined(pieces: readonly (string | Buffer)[]): Buffer {
  let length = 0;
  for (const piece of pieces) length += Buffer.byteLength(piece);
  const whole = Buffer.allocUnsafe(length);
  let at = 0;
  for (const piece of pieces) {
    at += typeof piece === 'string' ? whole.write(piece, at) : piece.copy(whole, at);
  }
  return whole;
}

/**
 * Runs a script.
 * @param args keys, then arguments: strings, numbers, buffers; undefined and null are sent as ''
 * @throws the reply's error, or what the connection says
 */
export function runScript(
  client: Redis | Cluster,
  script: Script,
  args: readonly unknown[],
): Promise<unknown> {
  const sent = script.keys === undefined ? args : [script.keys, ...args];
  return client.sendCommand(new ScriptCommand(client, script, sent)) as Promise<unknown>;
}
