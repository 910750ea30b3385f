/** A producer that says each acknowledgement as it comes, to be killed in the middle. */
import { writeSync } from 'node:fs';
import pino from 'pino';
import { createClient } from '../../../src/create-client.ts';

const [redis, journal, prefix] = process.argv.slice(2) as [string, string, string];
const client = await createClient({ redis, journal, log: pino({ level: 'silent' }) });
for (let n = 0; ; n += 1) {
  const { id } = await client.enqueue('q', 'x', {}, { jobId: `${prefix}-${n}` });
  // Synchronous: what was acknowledged is said before anything else happens.
  writeSync(1, `${id}\n`);
}
