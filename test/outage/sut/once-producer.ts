/**
 * A producer in a process of its own that enqueues what it is told, to be killed at any time. Started with
 * Redis, journal, and settings in JSON; its log goes to stderr.
 *
 * Reads `{way, mark, options}`, one JSON a line, each enqueued when it is read; says `{mark, ids}` once it is
 * acknowledged, or `{mark, error}`. At the end of its input it closes, and says `{left}`.
 */
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import pino from 'pino';
import { createClient } from '../../../src/create-client.ts';
import { ways } from '../harness/once-ways.ts';

const [redis, journal, settings] = process.argv.slice(2) as [string, string, string];

/** Synchronous: what was acknowledged is said before anything else happens. */
function say(what: object): void {
  const line = `${JSON.stringify(what)}\n`;
  for (;;) {
    try {
      writeSync(1, line);
      return;
    } catch (error) {
      // Whoever listens is busy: the pipe is full.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  }
}

const log = pino({ level: 'info' }, pino.destination({ dest: 2, sync: true }));
const client = await createClient({ redis, journal, settings: JSON.parse(settings), log });
const calls: Promise<unknown>[] = [];
for await (const line of createInterface({ input: process.stdin })) {
  const { way, mark, options } = JSON.parse(line);
  const { enqueue } = ways.find(({ name }) => name === way)!;
  calls.push(
    enqueue(client, mark, options).then(
      (ids) => say({ mark, ids }),
      (error: unknown) => say({ mark, error: String(error) }),
    ),
  );
}
await Promise.all(calls);
say({ left: await client.close() });
