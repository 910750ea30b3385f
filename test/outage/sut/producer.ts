/**
 * A producer that says each acknowledgement as it comes, and kills itself in the turn of the last one: no
 * timer, no socket and no thread of its own is served between the acknowledgement and its end.
 *
 * Started with: Redis, journal, prefix of the job ids, acknowledgements until its end.
 * Says: an id on each line, and on the last one how long it lived on after that acknowledgement, ms.
 */
import { writeSync } from 'node:fs';
import pino from 'pino';
import { createClient } from '../../../src/create-client.ts';

const [redis, journal, prefix, count] = process.argv.slice(2) as [string, string, string, string];
const client = await createClient({ redis, journal, log: pino({ level: 'silent' }) });
for (let n = 1; ; n += 1) {
  const jobId = `${prefix}-${n}`;
  await client.enqueue('q', 'x', {}, { jobId }).then(({ id }) => {
    const acknowledgedAt = performance.now();
    // Synchronous: what was acknowledged is said before anything else happens.
    writeSync(1, `${id}\n`);
    if (n < Number(count)) return;
    writeSync(1, `${performance.now() - acknowledgedAt}\n`);
    process.kill(process.pid, 'SIGKILL');
  });
}
